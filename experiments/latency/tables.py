"""Judges the timing tables: CMSIS-NN's kernels on virtual boards, against CMSIS-NN measured on real ones.

    python -m experiments.latency.tables [--data FOLDER]

The networks of MLPerf Tiny with the kernel set `cmsis_nn`: executed instructions through the timing table of the core,
no constant fitted. Measured are microTVM + CMSIS-NN (STM32L4R5, nRF5340) and TensorFlow Lite Micro + CMSIS-NN (RA6M4):
other versions of the kernels, another compiler (gcc), and TensorFlow Lite Micro's interpreter.
"""

import argparse
import os
from pathlib import Path
from statistics import median

from automcu.graph.tflite.constants import read_model
from experiments.latency.measurements import REFERENCE, Measurement, load_measurements
from experiments.latency.profile import layer_profiles

KERNELS = "CMSIS-NN"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AUTOMCU_DATA", "../shared/data")))
    data = parser.parse_args().data
    rows = [row for row in load_measurements(data) if row.kernels == KERNELS and row.source == "mlperf_tiny"]
    print("| network | core | instructions a MAC | estimated cycles a MAC | measured | where | error |")
    print("|---|---|--:|--:|--:|---|--:|")
    errors = []
    for network in REFERENCE:
        model = read_model((data / "mlperf_tiny_models" / f"{REFERENCE[network]}.tflite").read_bytes())
        for core in sorted({row.core for row in rows}):
            layers = layer_profiles(model, 0, core, "cmsis_nn", seed=0)
            cycles = sum(layer.estimate.cycles for layer in layers)
            instructions = sum(layer.estimate.instructions for layer in layers)
            for where, row in _measured(rows, network, core).items():
                errors.append(cycles / row.cycles - 1)
                print(
                    f"| {network} | {core} | {instructions / row.macs:.2f} | {cycles / row.macs:.2f} | "
                    f"{row.cycles / row.macs:.2f} | {where} | {errors[-1]:+.0%} |"
                )
    print(f"\nmedian absolute error {median(map(abs, errors)):.1%}, from {min(errors):+.0%} to {max(errors):+.0%}")


def _measured(rows: list[Measurement], network: str, core: str) -> dict[str, Measurement]:
    """One measurement of each runtime and board: other laboratories repeat them within 1 %."""
    found = [row for row in rows if row.network == network and row.core == core]
    return {f"{row.runtime}, {row.board}": row for row in reversed(found)}


if __name__ == "__main__":
    main()
