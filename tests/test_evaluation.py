from automcu.evaluation import Evaluator


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
