"""Energy of a clock cycle by board and supply, from the energy runs of MLPerf Tiny.

    python -m experiments.latency.energy [--data FOLDER]

Cycles are those of the energy run itself: clock over its own throughput. Accelerators are left out. The figures of
`automcu/deploy/latency/energy.py` are the last column, for the supplies named there.
"""

import argparse
import csv
import os
import re
from pathlib import Path
from statistics import median


def picojoules_per_cycle(data: Path) -> dict[tuple[str, str], list[float]]:
    """By board and supply (voltage and what regulates it, as far as stated): one figure for each result."""
    found: dict[tuple[str, str], list[float]] = {}
    with (data / "mlperf_tiny.csv").open() as file:
        for line in csv.DictReader(file):
            if line["accelerator"] or not line["energy_uj_per_inf"]:
                continue
            clock_hz = float(line["clock_mhz"]) * 1e6
            cycles = clock_hz / float(line["energy_mode_inf_per_s"] or line["inf_per_s"])
            found.setdefault((line["board"].upper(), _supply(line["hardware_notes"])), []).append(
                float(line["energy_uj_per_inf"]) * 1e6 / cycles
            )
    return found


def _supply(notes: str) -> str:
    volts = re.search(r"(\d(?:\.\d)?) ?V", notes)
    regulator = "external SMPS" if "external SMPS" in notes else "SMPS" if "SMPS" in notes else "internal regulator"
    return f"{float(volts[1]):.1f} V, {regulator}" if volts else "not stated"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AUTOMCU_DATA", "../shared/data")))
    print("| board | supply | results | lowest | highest | median pJ a cycle |\n|---|---|--:|--:|--:|--:|")
    for (board, supply), figures in sorted(picojoules_per_cycle(parser.parse_args().data).items()):
        print(
            f"| {board} | {supply} | {len(figures)} | {min(figures):.0f} | {max(figures):.0f} | {median(figures):.0f} |"
        )


if __name__ == "__main__":
    main()
