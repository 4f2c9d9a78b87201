"""How ST Edge AI fails, as error classes.

Sources: error lines captured by users of X-CUBE-AI 7 to ST Edge AI Core 4.0. The tool writes them to stdout and stderr
alike, and its exit status says no more than that it failed.
"""

import re
import signal

from automcu.errors import AutoMCUError, CandidateFailure, InfraFailure


class StArgumentError(InfraFailure):
    """The tool refuses how it was called, such as an option or a target that its version does not know."""


class StToolError(InfraFailure):
    """The tool itself fails: a part of its installation, its machine, or a report or version that cannot be read."""


class StBenchError(InfraFailure):
    """The board, its serial line or its firmware fails; only `validate` on a target needs them."""


class StUnsupportedLayer(CandidateFailure):
    """The tool says that it does not support a layer of the network."""


class StRejectedModel(CandidateFailure):
    """The tool cannot read this network or breaks down on it, although it works as such."""


_CODED = re.compile(r"\bE(\d)\d\d\((\w+)\): .*")
_UNCODED = re.compile(r"\b(?:INTERNAL ERROR|NOT IMPLEMENTED|TOOL ERROR|Fatal error): .*")
_DESCRIPTOR = re.compile(r'invalid/unsupported ".*" descriptor')
_UNSUPPORTED = re.compile(r"not implemented|not supported|unsupported", re.IGNORECASE)
_LAYER = re.compile(r"\blayer:? +['\"]?([\w./:;-]*\w)")
_MACHINE = re.compile(
    r"No space left on device|MemoryError|Cannot allocate memory|error while loading shared libraries"
)
_NOISE = ("E: ", "ST Edge AI Core v", "Neural Network Tools", "elapsed time")
_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, 126, 127, 137, 143}
"""Statuses of a program that was killed by another, or that a shell could not start."""
_SHOWN_CHARACTERS = 300


def classify_error(status: int, output: str) -> AutoMCUError:
    """The error that a failed run of the tool stands for, from its exit status and what it printed.

    E0xx (the model cannot be read), and what the tool cannot compile, are the network's; E1xx (arguments, tool), E2xx
    and E8xx (bench), a full disk or memory, and a kill from outside are not. Whatever is not known is the network's.
    """
    machine = _MACHINE.search(output)
    if machine is not None:
        return StToolError(f"ST Edge AI failed: {machine[0]}; see to the machine or its installation and try again")
    coded = _CODED.search(output)
    if coded is not None:
        line = _shown(coded[0])
        if coded[2] == "CliArgumentError":
            return StArgumentError(
                f"ST Edge AI refused its arguments: {line}; use ST Edge AI Core 1.0 or later and a target it lists"
            )
        if coded[1] in "28":
            return StBenchError(f"ST Edge AI's test bench failed: {line}; check the board and its connection")
        if coded[1] != "0":
            return StToolError(f"ST Edge AI failed: {line}; check its installation and target")
        return _refused(line)
    uncoded = _UNCODED.search(output)
    if uncoded is not None:
        return _refused(_shown(uncoded[0]))
    descriptor = _DESCRIPTOR.search(output)
    if descriptor is not None:
        return StBenchError(f"ST Edge AI's test bench failed: {_shown(descriptor[0])}; check how the board is given")
    lines = [line.strip() for line in output.splitlines()]
    told = [line for line in lines if line and not line.startswith(_NOISE)]
    last = _shown(told[-1]) if told else "nothing printed"
    if status in _FROM_OUTSIDE:
        return StToolError(f"ST Edge AI ended with status {status} ({last}); check its installation and try again")
    return StRejectedModel(f"ST Edge AI ended with status {status} ({last}); try the model in ST Edge AI by hand")


def _refused(line: str) -> AutoMCUError:
    if _UNSUPPORTED.search(line) is None:
        return StRejectedModel(
            f"ST Edge AI breaks down on this network: {line}; change the network or the tool's version"
        )
    layer = _LAYER.search(line)
    what = "a layer" if layer is None else f"layer {layer[1]}"
    return StUnsupportedLayer(f"ST Edge AI does not support {what} of this network: {line}; change the layer")


def _shown(text: str) -> str:
    """Foreign text, fit to be a part of a message."""
    return "".join(c if c.isprintable() else " " for c in text[:_SHOWN_CHARACTERS]).strip()
