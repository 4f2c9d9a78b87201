"""Judges the timing tables, and the fast estimate, on the networks of MLPerf Tiny.

    python -m experiments.latency.tables [--data FOLDER]

First CMSIS-NN's kernels on virtual boards against CMSIS-NN measured on real ones: executed instructions through the
timing table of the core, no constant fitted. Measured are microTVM + CMSIS-NN (STM32L4R5, nRF5340) and TensorFlow Lite
Micro + CMSIS-NN (RA6M4): other versions of the kernels, another compiler (gcc), TensorFlow Lite Micro's interpreter.

Then AutoMCU's own kernels: the fast estimate, which was fitted on random networks only, against that of the timing
tables, and for comparison the fastest and the slowest runtime measured on an STM32 of the core.
"""

import argparse
import os
from pathlib import Path
from statistics import median

from automcu.graph.int8_model import Int8Model
from automcu.graph.kernel_sets import KernelSet, kernel_set_for
from automcu.graph.latency import estimate_cycles
from automcu.graph.tflite.constants import read_model
from experiments.latency.measurements import REFERENCE, Measurement, load_measurements
from experiments.latency.profile import BOARDS, layer_profiles

KERNELS = "CMSIS-NN"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AUTOMCU_DATA", "../shared/data")))
    data = parser.parse_args().data
    rows = [row for row in load_measurements(data) if row.source == "mlperf_tiny"]
    models = {
        network: read_model((data / "mlperf_tiny_models" / f"{name}.tflite").read_bytes())
        for network, name in REFERENCE.items()
    }
    _judge_tables(models, [row for row in rows if row.kernels == KERNELS])
    _judge_fast(models, rows)


def _profiled(model: Int8Model, core: str, kernels: KernelSet) -> tuple[int, int]:
    """Instructions executed, and cycles estimated."""
    layers = [layer.estimate for layer in layer_profiles(model, 0, core, kernels, seed=0)]
    return sum(layer.instructions for layer in layers), sum(layer.cycles for layer in layers)


def _judge_tables(models: dict[str, Int8Model], rows: list[Measurement]) -> None:
    print("| network | core | instructions a MAC | estimated cycles a MAC | measured | where | error |")
    print("|---|---|--:|--:|--:|---|--:|")
    errors = []
    for network, model in models.items():
        for core in sorted({row.core for row in rows}):
            instructions, cycles = _profiled(model, core, "cmsis_nn")
            for where, row in _measured(rows, network, core).items():
                errors.append(cycles / row.cycles - 1)
                print(
                    f"| {network} | {core} | {instructions / row.macs:.2f} | {cycles / row.macs:.2f} | "
                    f"{row.cycles / row.macs:.2f} | {where} | {errors[-1]:+.0%} |"
                )
    print(f"\nmedian absolute error {median(map(abs, errors)):.1%}, from {min(errors):+.0%} to {max(errors):+.0%}\n")


def _judge_fast(models: dict[str, Int8Model], rows: list[Measurement]) -> None:
    print("| network | core | instructions a MAC | cycles a MAC by the tables | fast | error | others, measured |")
    print("|---|---|--:|--:|--:|--:|--:|")
    errors = []
    for network, model in models.items():
        macs = next(row.macs for row in rows if row.network == network and row.graph == model.graph)
        for core in BOARDS:
            instructions, cycles = _profiled(model, core, kernel_set_for(core))
            fast = estimate_cycles(model.graph, core)
            errors.append(fast / cycles - 1)
            others = [
                row.cycles / macs
                for row in rows
                if (row.network, row.core) == (network, core) and row.board.startswith("NUCLEO")
            ]
            measured = f"{min(others):.2f} to {max(others):.2f}" if others else "none"
            print(
                f"| {network} | {core} | {instructions / macs:.2f} | {cycles / macs:.2f} | {fast / macs:.2f} | "
                f"{errors[-1]:+.0%} | {measured} |"
            )
    print(f"\nmedian absolute error {median(map(abs, errors)):.1%}, from {min(errors):+.0%} to {max(errors):+.0%}")


def _measured(rows: list[Measurement], network: str, core: str) -> dict[str, Measurement]:
    """One measurement of each runtime and board: other laboratories repeat them within 1 %."""
    found = [row for row in rows if row.network == network and row.core == core]
    return {f"{row.runtime}, {row.board}": row for row in reversed(found)}


if __name__ == "__main__":
    main()
