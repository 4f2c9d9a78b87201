"""Does the filter throw away good networks?

    python -m experiments.filter_audit.audit [--count 2000] [--seed 0] [--data FOLDER] [--out FOLDER]

Proposes `count` architectures by each proposer, judges them by every tier for five targets, links firmware of those
near the limits and of all that are rejected and might yet fit, and trains some on both sides of a limit. Writes
`figures.md`, `sensitivity.png`, `rows.parquet` (a row per architecture), `links.parquet` (per linked firmware) and
`trainings.parquet`. The folder of the data holds `nasbench201.parquet` and `nats_mcu_nrf5340_sample.parquet`; without
them the part that needs them is left out and says so.
"""

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from automcu.deploy.toolchain.toolchain import Toolchain
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.feasibility.st.stedgeai import StEdgeAi, find_stedgeai
from automcu.graph.lowering import lower
from automcu.graph.tflite.writer import write_tflite
from automcu.spaces import make_space
from automcu.spaces.space import Space
from experiments.filter_audit import linking, tables
from experiments.filter_audit.accuracy import train_near_limit
from experiments.filter_audit.agreement import agreements, costs_of_caution, population
from experiments.filter_audit.first_run import trained_in_first_run
from experiments.filter_audit.nasbench import benchmarked, lost, measured
from experiments.filter_audit.picture import sensitivity_picture
from experiments.filter_audit.population import Offer, evolved_offers, random_offers, reply_offers
from experiments.filter_audit.targets import KERNELS, Judged, Target, judged, other_tiers, targets

HERE = Path(__file__).parent
INPUT_SHAPE, CLASS_COUNT = (32, 32, 3), 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Audit, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=2_000, help="architectures of each proposer")
    parser.add_argument("--links", type=int, default=60, help="firmware linked near the limits of each target")
    parser.add_argument("--trainings", type=int, default=20, help="networks trained on each side of the limit")
    parser.add_argument("--every", type=int, default=1, help="take every n-th network of NAS-Bench-201")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AUTOMCU_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    space, all_targets, toolchain = make_space("mcu_cnn", INPUT_SHAPE, CLASS_COUNT), targets(), ZigToolchain()
    offers = [
        *random_offers(space, asked.seed, asked.count),
        *reply_offers(space, asked.seed + 1, asked.count),
    ]
    for target in all_targets:
        offers += evolved_offers(space, asked.seed + 2, target, asked.count // len(all_targets))
    all_judged = judge_offers(space, offers)
    _say(began, f"{len(all_judged):,} architectures judged")
    costs = [
        costs_of_caution(all_judged, target, proposer) for target in all_targets for proposer in ("random", "evolution")
    ]
    sections = [
        tables.funnel(offers, all_judged, all_targets),
        tables.kinds(offers),
        tables.first_run(trained_in_first_run()),
        tables.agreement(list(agreements(all_judged, all_targets)), all_targets),
        tables.sensitivity(all_judged, all_targets),
        tables.caution(costs),
    ]
    linked = link_firmware(space, all_judged, all_targets, asked.links, toolchain)
    _say(began, f"{len(linked)} images linked")
    sections += [tables.links(linked), tables.false_rejects(linked, costs)]
    sections.append(vendor_section(space, all_judged, all_targets, asked.links))
    if all((asked.data / name).exists() for name in ("nasbench201.parquet", "nats_mcu_nrf5340_sample.parquet")):
        known = list(benchmarked(asked.data, asked.every))
        _say(began, f"{len(known):,} networks of NAS-Bench-201 judged")
        unseen = [lost(known, target, toolchain, asked.links) for target in all_targets]
        _say(began, f"{sum(item.linked for item in unseen)} of those linked")
        sections += [tables.nasbench(known, all_targets, unseen), tables.device(measured(asked.data))]
    else:
        sections.append("The tables of NAS-Bench-201 were not found, so that its accuracies are not compared.")
    trainings = train_near_limit(asked.seed, asked.trainings, repeats=2)
    _say(began, f"{len(trainings)} trainings")
    sections.append(tables.trainings(trainings))
    text = "\n\n".join(sections)
    print(text)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "figures.md").write_text(f"# Figures\n\nWritten by `audit.py`.\n\n{text}\n")
    (asked.out / "sensitivity.png").write_bytes(sensitivity_picture(all_judged, all_targets))
    _write(asked.out / "rows.parquet", [_row(item, all_targets) for item in all_judged])
    _write(asked.out / "links.parquet", linked)
    _write(asked.out / "trainings.parquet", [asdict(training) for training in trainings])


def judge_offers(space: Space, offers: Sequence[Offer]) -> list[Judged]:
    """What every tier says of the offers that are networks; the same architecture is judged once for each proposer."""
    distinct = {
        (offer.proposer, offer.aim, offer.architecture): None for offer in offers if offer.architecture is not None
    }
    others = other_tiers()
    try:
        return list(judged(space, ((*key[:2], key[2]) for key in distinct if key[2] is not None), others))
    finally:
        for tier in others.values():
            tier.close()


def link_firmware(
    space: Space, all_judged: Sequence[Judged], all_targets: Sequence[Target], count: int, toolchain: Toolchain
) -> list[dict[str, Any]]:
    """Link about `count` images near the limits of each target, and all that are rejected and might fit. A row holds
    both verdicts, and by how many bytes what was planned exceeds what was linked."""
    asked: list[tuple[Target, Judged, bool, bool]] = []
    for target in all_targets:
        judged_for = population(all_judged, target)
        near = {id(item) for item in linking.near_limit(judged_for, target, count)}
        in_doubt = {id(item) for item in linking.rejected_in_doubt(judged_for, target)}
        asked += [
            (target, item, id(item) in near, id(item) in in_doubt)
            for item in judged_for
            if id(item) in near or id(item) in in_doubt
        ]

    def row(target: Target, item: Judged, near_limit: bool, in_doubt: bool) -> dict[str, Any]:
        image = linking.link(write_tflite(lower(space.build(item.architecture)), seed=0), target, toolchain)
        planned = item.planner[target.kernels]
        return {
            "target": target.name,
            "board": target.board.name,
            "kernels": target.kernels,
            "proposer": item.proposer,
            "fingerprint": item.architecture.fingerprint,
            "near_limit": near_limit,
            "in_doubt": in_doubt,
            "scarcer": target.scarcer(planned),
            "fullness": target.fullness(planned),
            "planner_fits": target.fits(planned),
            "linker_fits": image.fits,
            "flash_bytes": image.flash_bytes,
            "flash_excess_bytes": planned.flash_bytes - image.flash_bytes,
            "ram_bytes": image.ram_bytes,
            "ram_excess_bytes": planned.ram_bytes - image.ram_bytes,
            "region": image.region,
            "over_bytes": image.over_bytes,
        }

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the work is that of compilers, in processes of their own
        return list(pool.map(lambda link: row(*link), asked))


def vendor_section(space: Space, all_judged: Sequence[Judged], all_targets: Sequence[Target], count: int) -> str:
    """ST's own verdict on the networks near the limits, where its program is found."""
    program = find_stedgeai()
    if program is None:
        return "## ST Edge AI\n\nIts program was not found, so that ST's figures are those of the estimate alone."
    lines = [
        "## ST Edge AI, on the sample near the limits",
        "",
        "| target | both fit | planner only | ST only | neither |",
        "|---|--:|--:|--:|--:|",
    ]
    with TemporaryDirectory(prefix="automcu-") as folder:
        file = Path(folder) / "model.tflite"
        for target in all_targets:
            assert target.board.stedgeai_target is not None  # so are all of `targets`
            tier = StEdgeAi(program, target.board.stedgeai_target)
            cells = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
            for item in linking.near_limit(population(all_judged, target), target, count):
                graph = lower(space.build(item.architecture))
                file.write_bytes(write_tflite(graph, seed=0))
                by_planner = target.fits(item.planner[target.kernels])
                cells[by_planner, target.fits(tier.report(graph, lambda: file))] += 1
            lines.append(f"| {target.name} | " + " | ".join(f"{count:,}" for count in cells.values()) + " |")
    return "\n".join(lines)


def _row(item: Judged, all_targets: Sequence[Target]) -> dict[str, Any]:
    by_planner = {f"planner {kernels}": report for kernels, report in item.planner.items()}
    row: dict[str, Any] = {
        "proposer": item.proposer,
        "aim": item.aim,
        "fingerprint": item.architecture.fingerprint,
        "architecture": item.architecture.text,
        "macs": item.planner[KERNELS[0]].macs,
        "weights_bytes": item.planner[KERNELS[0]].weights_bytes,
        **{f"{kernels}: in_place_activations_bytes": size for kernels, size in item.in_place_bytes.items()},
    }
    for label, report in {**by_planner, **item.others}.items():
        for name in ("activations_bytes", "runtime_ram_bytes", "code_bytes", "margin"):
            row[f"{label}: {name}"] = getattr(report, name)
    for target in all_targets:
        row |= {f"{label}: fits {target.name}": target.fits(report) for label, report in item.reports(target).items()}
    return row


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), path, compression="zstd")


def _say(began: float, what: str) -> None:
    print(f"[{time.monotonic() - began:6.1f} s] {what}", flush=True)


if __name__ == "__main__":
    main()
