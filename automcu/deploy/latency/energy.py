"""Energy of an inference, where the energy of a board's clock cycle was measured."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CycleEnergy:
    """Energy of the whole microcontroller for a clock cycle of inference, in picojoules, and how it was supplied."""

    picojoules: float
    supply: str


CYCLE_ENERGIES: Mapping[str, CycleEnergy] = {
    "nucleo_l4r5zi": CycleEnergy(626, "3.0 V at 120 MHz, internal regulator"),
    "nucleo_u575zi_q": CycleEnergy(158, "1.8 V at 160 MHz, internal step-down converter"),
    "nucleo_h7a3zi_q": CycleEnergy(493, "3.0 V at 280 MHz, internal step-down converter"),
}
"""By board: medians over runtimes and networks of MLPerf Tiny's energy runs (`python -m experiments.latency.energy`).
A cycle's energy moves by about 15 % with the software, and by up to 1.8 times with the supply."""


def inference_millijoules(board: str, cycles: float) -> float | None:
    """Estimated energy of `cycles` clock cycles on the board of the table named `board`; None where it was not
    measured."""
    energy = CYCLE_ENERGIES.get(board)
    return None if energy is None else cycles * energy.picojoules * 1e-9
