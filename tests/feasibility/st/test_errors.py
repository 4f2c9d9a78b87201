"""The error lines that users of the real tool captured, each with the class it must get."""

import pytest

from automcu.errors import AutoMCUError, CandidateFailure, InfraFailure
from automcu.feasibility.st.errors import (
    StArgumentError,
    StBenchError,
    StRejectedModel,
    StToolError,
    StUnsupportedLayer,
    classify_error,
)
from tests.graph.shared_models import shared

CAPTURED: tuple[tuple[str, type[AutoMCUError]], ...] = (
    ("E102(CliArgumentError): --address/--copy-weights-at arguments", StArgumentError),
    ("E102(CliArgumentError): Validation on host is not supported", StArgumentError),
    ("E103(CliRuntimeError): Error calling the Neural Art compiler", StToolError),
    ("INTERNAL ERROR: Transpose on batch not supported in layer _df_gru", StUnsupportedLayer),
    ("INTERNAL ERROR: 'input'", StRejectedModel),
    ("INTERNAL ERROR: Order of dimensions", StRejectedModel),
    ("TOOL ERROR: Error in computation of shapes", StRejectedModel),
    ("TOOL ERROR: list index out of range", StRejectedModel),
    ("INTERNAL ERROR: Mismatch in channel position", StRejectedModel),
    ("E: _Einsum_1_output_0", StRejectedModel),  # not fatal: as if nothing had been printed
    ('E200(ValidationError): TARGET: Unable to bind the ST.AI runtime', StBenchError),
    ("E200(ValidationError): stm32: Unable to bind", StBenchError),
    ("E801(HwIOError): Invalid firmware", StBenchError),
    ("E801(HwIOError): No SERIAL COM port", StBenchError),
    ("E801(HwIOError): could not open port", StBenchError),
    ("E801(HwIOError): No weights are available", StBenchError),
    ("invalid/unsupported", StBenchError),
)  # fmt: skip


def captured() -> list[str]:
    """The captured errors, each with the lines that continue it."""
    errors: list[str] = []
    for line in shared("stedgeai_reports/captured_cli/error_lines.txt").read_text().splitlines():
        if line.startswith(" ->"):
            errors[-1] += "\n" + line
        elif line and not line.startswith("#"):
            errors.append(line)
    return errors


def test_every_captured_error_has_its_class() -> None:
    lines = captured()
    assert len(lines) == len(CAPTURED)
    for (begin, kind), line in zip(CAPTURED, lines, strict=True):
        assert begin in line
        banner = "ST Edge AI Core v2.2.0-20266 2adc00962\nSetting validation data...\n"
        error = classify_error(1, f"{banner}{line}\nelapsed time (validate): 11.753s\n")
        assert type(error) is kind, line
        if not begin.startswith("E: "):
            assert begin in str(error)


def test_a_captured_run_that_failed_at_the_board() -> None:
    log = shared("stedgeai_reports/captured_cli/stedgeai-2.2.0_validate-target_E200_E801.log").read_text()
    error = classify_error(1, log)
    assert type(error) is StBenchError and "Unable to bind" in str(error)


@pytest.mark.parametrize(
    "line, layer",
    [
        ("INTERNAL ERROR: Transpose on batch not supported in layer _df_gru_gru_Transpose_output_0",
         "layer _df_gru_gru_Transpose_output_0 of"),
        ("NOT IMPLEMENTED: Unsupported layer: Einsum_1", "layer Einsum_1 of"),
        ("NOT IMPLEMENTED: Layer type GELU", "a layer of"),
        ("E010(InvalidModelError): layer 'block/gelu' is not supported", "layer block/gelu of"),
    ],
)  # fmt: skip
def test_the_unsupported_layer_is_named_where_the_tool_does(line: str, layer: str) -> None:
    error = classify_error(1, line)
    assert type(error) is StUnsupportedLayer
    assert layer in str(error) and line in str(error)


@pytest.mark.parametrize(
    "status, output, kind",
    [
        (1, "E010(InvalidModelError): Couldn't load the model", StRejectedModel),
        (1, "E999(NewError): whatever", StToolError),
        (1, "Fatal error: signo=11", StRejectedModel),
        (1, "E: layer x - number of I/O tensor is not coherent: 0/1\nTOOL ERROR: y", StRejectedModel),
        (1, "INTERNAL ERROR: [Errno 28] No space left on device", StToolError),
        (1, "INTERNAL ERROR: MemoryError", StToolError),
        (127, "stedgeai: error while loading shared libraries: libx.so", StToolError),
        (-9, "", StToolError),
        (-15, "", StToolError),
        (137, "Killed", StToolError),
        (-11, "", StRejectedModel),
        (3, "", StRejectedModel),
    ],
)
def test_other_endings(status: int, output: str, kind: type[AutoMCUError]) -> None:
    assert type(classify_error(status, output)) is kind


def test_errors_tell_the_two_kinds_apart() -> None:
    assert all(issubclass(kind, InfraFailure) for kind in (StArgumentError, StToolError, StBenchError))
    assert all(issubclass(kind, CandidateFailure) for kind in (StUnsupportedLayer, StRejectedModel))


def test_a_message_is_one_short_printable_line_with_a_remedy() -> None:
    message = str(classify_error(1, "INTERNAL ERROR: \x1b[31mred\x07" + "x" * 10_000))
    assert message.isprintable() and len(message) < 500
    assert message.endswith("change the network or the tool's version")
