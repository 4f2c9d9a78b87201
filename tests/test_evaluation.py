import numpy as np
import pytest

from automcu.evaluation import Evaluator, disagreement


class Closable:
    """Stands for a converter or a gate."""

    def __init__(self) -> None:
        self.closed = 0

    def start(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


def test_closing_ends_what_the_converter_and_the_gate_hold() -> None:
    gate, converter = Closable(), Closable()
    Evaluator(None, gate, converter, None, None, None).close()  # type: ignore[arg-type]
    assert (gate.closed, converter.closed) == (1, 1)


def test_outputs_agree_as_far_as_their_size_allows() -> None:
    small, large = np.array([[0.5, -0.25]], np.float32), np.array([[1500.0, -800.0]], np.float32)
    assert disagreement(small + 2e-4, small) == pytest.approx(2e-4, rel=1e-3)
    assert disagreement(large + 3e-2, large) == pytest.approx(2e-5, rel=1e-2)
    assert disagreement(-large, large) > 1
    assert not disagreement(np.full_like(small, np.nan), small) <= 1e-4
