"""Several searches of each experiment, put together: a table for people, a row a candidate for notebooks.

    python -m experiments.searches.collect DIR

DIR holds a folder for each experiment, as multiruns leave them (`hydra.sweep.dir=DIR/cifar10`). What is in
`candidates.parquet` beside this file is replaced for these experiments and kept for others.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
ROWS = HERE / "candidates.parquet"
KIB = 1.024


def runs(folder: Path) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """What each run in `folder` and below came to, and its candidates."""
    for path in sorted(folder.rglob("run.json")):
        record = json.loads(path.read_text())
        config = record["config"]
        if record["status"] != "ended" or record["exit_code"]:
            print(f"left out: {path.parent} ({record['status']}, {record.get('message')})")
            continue
        (total,) = [row for row in pq.read_table(path.parent / "costs.parquet").to_pylist() if row["role"] == "all"]
        named = {
            "experiment": path.relative_to(folder).parts[0],
            "run_seed": config["seed"],
            "revision": record["git_revision"],
            "ram_limit_kb": config["budget"]["ram_kb"],
            "flash_limit_kb": config["budget"]["flash_kb"],
            "minutes": total["seconds"] / 60,
        }
        candidates = pq.read_table(path.parent / "candidates.parquet").to_pylist()
        yield {**named, **total}, [{**named, **row} for row in candidates]


def table(found: Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]) -> list[str]:
    """A line for each experiment."""
    lines = [
        "| experiment | limits KB (KiB), RAM / Flash | seeds | minutes | proposed | rejected | trained (stopped) "
        "| infeasible trained | int8 test accuracy, mean +- sd (each) | RAM, Flash of what shipped, KB |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in dict.fromkeys(total["experiment"] for total, _ in found):
        mine = [(total, rows) for total, rows in found if total["experiment"] == name]
        shipped = [row for _, rows in mine for row in rows if row["status"] == "deployed"]
        accuracies = [100 * row["int8_test_accuracy"] for row in shipped]
        limits = [mine[0][0][key] for key in ("ram_limit_kb", "flash_limit_kb")]
        trained = [row for _, rows in mine for row in rows if row["train_seconds"] is not None]
        infeasible = sum(_ram(row) > 1000 * limits[0] or _flash(row) > 1000 * limits[1] for row in trained)
        totals = {key: sum(total[key] for total, _ in mine) for key in ("proposed", "rejected", "trained", "minutes")}
        stopped = sum(row["status"] == "stopped" for row in trained)
        spread = f" +- {stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
        lines.append(
            f"| {name} | {limits[0]:g} ({limits[0] / KIB:.1f}) / {limits[1]:g} ({limits[1] / KIB:.1f}) | {len(mine)} "
            f"| {totals['minutes'] / len(mine):.1f} each | {totals['proposed']} | {totals['rejected']} "
            f"| {totals['trained']} ({stopped}) | {infeasible} "
            f"| {mean(accuracies):.2f}{spread} ({', '.join(f'{one:.2f}' for one in accuracies)}) "
            f"| {'; '.join(f'{_ram(row) / 1000:.1f}, {_flash(row) / 1000:.1f}' for row in shipped)} |"
        )
    return lines


def _ram(row: Mapping[str, Any]) -> float:
    return float(row["activations_bytes"] * (1 + row["margin"]) + row["runtime_ram_bytes"])


def _flash(row: Mapping[str, Any]) -> float:
    return float(row["weights_bytes"] + row["code_bytes"])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    found = list(runs(parser.parse_args().folder))
    rows = [row for _, rows in found for row in rows]
    if ROWS.exists():
        here = {row["experiment"] for row in rows}
        rows += [row for row in pq.read_table(ROWS).to_pylist() if row["experiment"] not in here]
    pq.write_table(pa.Table.from_pylist(rows), ROWS, compression="zstd")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
