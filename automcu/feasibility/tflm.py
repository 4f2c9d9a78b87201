"""The tier that states what a network costs on TensorFlow Lite Micro: its own allocator says so, in a process aside."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from automcu.child import Child, Frame
from automcu.errors import CandidateFailure, InfraFailure
from automcu.feasibility.tier import binding_layer, busiest_layer, heaviest_layer
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.planner import plan_memory
from automcu.results import FeasibilityReport

ARENA_BYTES = 64 * 2**20
"""The arena that the interpreter is given, far more than any microcontroller has. What it does not use is not touched,
so that its size costs no time."""
CODE_BYTES = 164_818
"""Interpreter and kernels: a stated constant, not measured by AutoMCU. It is the `.text` of a bare-metal application
around an int8 CNN, with TFLM of TensorFlow 2.4 (tensorflow/tensorflow issue 48073; about 8 kB are the application's).
Published figures differ widely: 48 kB for three operators (tensorflow/tensorflow issue 32345), 277,583 B for a whole
application with its real-time operating system and drivers beside the model (NAS-Bench-201 networks measured on an
nRF5340)."""


@dataclass(frozen=True, slots=True)
class Allocations:
    """Bytes of the arena in use: `head` is what the memory planner placed (activations and scratch), `tail` what lives
    as long as the interpreter."""

    head: int
    tail: int


class TflmTier:
    """The figures of the installed tflite-micro, the interpreter with the reference kernels.

    - activations: the allocator's head; the same on every processor, as those kernels are;
    - runtime RAM: the allocator's tail on this 64-bit machine. Its structures hold pointers, which are half as large on
      a Cortex-M: an upper figure for the same file;
    - weights: those of the graph. The interpreter reads the model file itself, which lies in Flash as a whole: the
      rest of the file is counted with the code;
    - code: the constant `CODE_BYTES`.

    Binding, heaviest and busiest layer are AutoMCU's, as the interpreter names none. Holds a process, started by the
    first report and replaced when it has died. Safe to use from several threads, one report at a time.
    """

    name = "tflm"
    target = "any Cortex-M"

    def __init__(self, time_limit_seconds: float = 30.0) -> None:
        self._time_limit_seconds = time_limit_seconds
        self._child: Child | None = None
        self._lock = threading.Lock()

    @cached_property
    def version(self) -> str:
        """The version of the installed package `tflite-micro`, which names the day of its snapshot."""
        try:
            return version("tflite-micro")
        except PackageNotFoundError as error:
            raise InfraFailure("tflite-micro is not installed; run `make setup`, or use feasibility=planner") from error

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        """What the interpreter says of the network's file.

        Raises `CandidateFailure` when it refuses the file, crashes on it, or needs more than `ARENA_BYTES`;
        `InfraFailure` when the process is killed, the time limit passes, or the report cannot be read.
        """
        tflite = model_file().read_bytes()
        allocations = self.allocations(tflite)
        plan, cost = plan_memory(graph), costs(graph)
        return FeasibilityReport(
            graph_fingerprint=graph.fingerprint,
            macs=cost.total_macs,
            weights_bytes=cost.total_weights_bytes,
            code_bytes=CODE_BYTES + len(tflite) - cost.total_weights_bytes,
            activations_bytes=allocations.head,
            runtime_ram_bytes=allocations.tail,
            binding_layer=binding_layer(graph, plan),
            heaviest_layer=heaviest_layer(graph, cost),
            busiest_layer=busiest_layer(graph, cost),
            tier=self.name,
            tool="tflite-micro",
            tool_version=self.version,
            target=self.target,
            margin=0.0,
        )

    def allocations(self, tflite: bytes) -> Allocations:
        """What the .tflite file takes of the arena. It should be one that `read_tflite` reads: the interpreter trusts
        it, and may crash on another. Raises as `report` does."""
        request = Frame({"arena_bytes": ARENA_BYTES}, {"tflite": np.frombuffer(tflite, np.uint8)})
        with self._lock:
            child = self._running_child()
            try:
                answer = child.ask(request, self._time_limit_seconds)
            except CandidateFailure as error:
                printed = child.last_words(3) or "nothing printed"
                raise CandidateFailure(
                    f"tflite-micro refused the file ({error}: {printed}); give an int8 .tflite file of operators that "
                    f"it knows, which needs less than {ARENA_BYTES:,} B of arena"
                ) from error
            except InfraFailure as error:
                if not child.crashed:
                    raise
                printed = child.last_words(3) or "nothing printed"
                raise CandidateFailure(
                    f"tflite-micro crashed on the file (status {child.returncode}: {printed}); convert the network "
                    "again, or change its layers"
                ) from error
        return read_allocations(str(answer.header["report"]), self.version)

    def close(self) -> None:
        """End the process; the next report starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _running_child(self) -> Child:
        if self._child is None or self._child.returncode is not None:
            self.close()
            self._child = Child("automcu.feasibility.tflm_worker", {"OMP_NUM_THREADS": "1"})
        return self._child


_FIGURE = re.compile(r"^\[RecordingMicroAllocator\] Arena allocation (total|head|tail) (\d{1,12}) bytes\r?$", re.M)


def read_allocations(report: str, tool_version: str) -> Allocations:
    """The figures of a recording allocator's report.

    Raises `InfraFailure` unless head, tail and total are each stated once and agree: `tool_version` then prints
    something that is not known here.
    """
    stated = _FIGURE.findall(report)
    figures = {name: int(figure) for name, figure in stated}
    if len(stated) != 3 or len(figures) != 3 or figures["total"] != figures["head"] + figures["tail"]:
        start = " | ".join(report.split("\n")[:3])[:200]
        raise InfraFailure(
            f"tflite-micro {tool_version} printed an allocation report of unknown form ({start!r}); install the locked "
            "version with `make setup`, or use feasibility=planner"
        )
    return Allocations(figures["head"], figures["tail"])
