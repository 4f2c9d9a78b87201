"""Whether the planned arena is the one that tflite-micro needs, byte for byte.

    python -m benchmarks.exactness [--architectures 1000] [--models FOLDER]

Random architectures of every search space, all different, are lowered and planned, and written as .tflite files, whose
arena tflite-micro's recording allocator states (its head). Real int8 models follow: every .tflite file below the
folder that the reader takes. Each figure that differs is listed; the exit status is 1 if there is any. The rate of
checks is that of the tflm tier with its one process, files given: by the clock, and by the processor's time of both
sides, in which other programs' work does not count but the start of the process does.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from automcu.errors import CandidateFailure
from automcu.feasibility.tflm import TflmTier
from automcu.graph.int8 import Int8Graph
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.reader import read_tflite
from automcu.graph.tflite.writer import write_tflite
from automcu.spaces import SPACES
from benchmarks.random_graphs import random_graphs

MODELS = Path(os.environ.get("AUTOMCU_DATA", Path(__file__).resolve().parents[2] / "shared/data"))


class Comparison:
    """Counts equal figures, lists unequal ones. Holds a process until `close`."""

    def __init__(self) -> None:
        self._tier = TflmTier()
        self.count = self.unequal = self.operators = 0
        self.clock_seconds = self.processor_seconds = 0.0

    def add(self, label: str, graph: Int8Graph, tflite: bytes) -> None:
        """Compare one network."""
        clock, processor = time.perf_counter(), time.process_time()
        head = self._tier.allocations(tflite).head
        self.clock_seconds += time.perf_counter() - clock
        self.processor_seconds += time.process_time() - processor
        planned = plan_memory(graph).arena_bytes
        self.count += 1
        self.operators += len(graph.operators)
        if planned != head:
            self.unequal += 1
            print(f"  unequal: {label}: planned {planned:,} B, tflite-micro {head:,} B")

    def close(self) -> None:
        """End the process, whose time is known then."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._tier.close()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.processor_seconds += after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    def __str__(self) -> str:
        if not self.count:
            return "none"
        by_clock, by_processor = self.count / self.clock_seconds, self.count / self.processor_seconds
        return (
            f"{self.count - self.unequal:,} of {self.count:,} equal ({self.operators / self.count:.1f} operators "
            f"each), {by_clock:.0f} checks/s by the clock, {by_processor:.0f} by the processor"
        )


def models(folder: Path) -> Iterator[tuple[Path, bytes, Int8Graph]]:
    """The int8 models below `folder`, by path; others are named with the reason."""
    for path in sorted(folder.rglob("*.tflite")):
        data = path.read_bytes()
        try:
            yield path, data, read_tflite(data)
        except CandidateFailure as error:
            print(f"  not compared: {path.name}: {error}")


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--architectures", type=int, default=1000)
    parser.add_argument("--models", type=Path, default=MODELS)
    asked = parser.parse_args()
    print(f"planned arena against tflite-micro {TflmTier().version}")
    unequal = 0
    for name in sorted(SPACES):
        began = time.perf_counter()
        comparison = Comparison()
        for graph in random_graphs(name, asked.architectures, seed=0):
            comparison.add(f"graph {graph.fingerprint}", graph, write_tflite(graph, seed=0))
        comparison.close()
        print(f"space {name}: {comparison}; {time.perf_counter() - began:.1f} s in all")
        unequal += comparison.unequal
    comparison = Comparison()
    for path, data, graph in models(asked.models):
        comparison.add(path.name, graph, data)
    comparison.close()
    print(f"real models in {asked.models}: {comparison}")
    sys.exit(1 if unequal + comparison.unequal else 0)


if __name__ == "__main__":
    main()
