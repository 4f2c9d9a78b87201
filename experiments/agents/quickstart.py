"""Is the quickstart with its local model as good as with code alone? Reads finished runs, a seed each, and compares.

    for s in 0 1 2 3 4 5 6 7 8 9; do
      python -m automcu.launch +experiment=quickstart seed=$s hydra.run.dir=runs/hybrid/$s
      python -m automcu.launch +experiment=quickstart proposer=evolution llm=none seed=$s hydra.run.dir=runs/code/$s
    done
    python -m experiments.agents.quickstart runs/hybrid runs/code

Prints a table, and writes `quickstart.parquet`: a row per run.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import bootstrap, wilcoxon

HERE = Path(__file__).parent


def row(method: str, folder: Path) -> dict[str, Any]:
    """What one run came to: accuracies in per cent, seconds, tokens."""
    table = pq.read_table(folder / "candidates.parquet").to_pylist()
    (deployed,) = [found for found in table if found["status"] == "deployed"]
    (costs,) = [found for found in pq.read_table(folder / "costs.parquet").to_pylist() if found["role"] == "all"]
    return {
        "method": method,
        "seed": json.loads((folder / "run.json").read_text("utf-8"))["seed"],
        "int8_test_accuracy": 100 * deployed["int8_test_accuracy"],
        "int8_validation_accuracy": 100 * deployed["int8_validation_accuracy"],
        "trained": costs["trained"],
        "rejected": costs["rejected"],
        "by_model": sum(found["origin"].startswith("llm") for found in table),
        "winner": deployed["origin"],
        "tokens": costs["tokens_in"] + costs["tokens_out"],
        "seconds": costs["seconds"],
    }


def main() -> None:
    """Compare the runs below two folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hybrid", type=Path, help="folder with a run folder per seed")
    parser.add_argument("code", type=Path)
    asked = parser.parse_args()
    rows = [
        row(method, path.parent)
        for method, folder in (("hybrid, local", asked.hybrid), ("evolution", asked.code))
        for path in sorted(folder.glob("*/costs.parquet"))
    ]
    pq.write_table(pa.Table.from_pylist(rows), HERE / "quickstart.parquet")
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """The table of the README."""
    lines = ["| | runs | int8 test accuracy, mean (sd) | validation | by the model | tokens | seconds, median |",
             "|---|--:|--:|--:|--:|--:|--:|"]  # fmt: skip
    accuracies: dict[str, dict[int, float]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        found = [row for row in rows if row["method"] == method]
        test, validation = (
            np.array([row[f"int8_{name}_accuracy"] for row in found]) for name in ("test", "validation")
        )
        accuracies[method] = {row["seed"]: row["int8_test_accuracy"] for row in found}
        made = np.mean([row["by_model"] for row in found])
        tokens, seconds = (np.median([row[name] for row in found]) for name in ("tokens", "seconds"))
        lines.append(
            f"| {method} | {len(found)} | {test.mean():.2f} ({test.std(ddof=1):.2f}) | {validation.mean():.2f} "
            f"({validation.std(ddof=1):.2f}) | {made:.1f} | {tokens:,.0f} | {seconds:.0f} |"
        )
    hybrid, code = accuracies.values()
    differences = np.array([hybrid[seed] - code[seed] for seed in sorted(hybrid.keys() & code.keys())])
    interval = bootstrap((differences,), np.mean, random_state=0).confidence_interval
    p = wilcoxon(differences).pvalue if differences.any() else 1.0
    lines += [
        "",
        f"Hybrid less code, the same seeds ({len(differences)}): {differences.mean():+.2f} points "
        f"[{interval.low:+.2f}, {interval.high:+.2f}], Wilcoxon p = {p:.2f}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
