"""tflite-micro as the oracle of many small models, in one process of its own."""

from dataclasses import asdict

import numpy as np

from automcu.child import Child, Frame
from automcu.export.interpreter_worker import Request
from automcu.graph.int8 import Int8Graph

ARENA_BYTES = 4 << 20


class Oracle:
    """A context manager; the process ends with it."""

    def __enter__(self) -> "Oracle":
        self._child = Child("automcu.export.interpreter_worker", {"OMP_NUM_THREADS": "1"})
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()

    def outputs(self, graph: Int8Graph, tflite: bytes, samples: np.ndarray) -> np.ndarray:
        """As `automcu.export.interpreter.run_bytes`: rows of the bytes of all inputs become rows of those of all
        outputs (uint8). `graph` is that of the file `tflite`."""
        inputs = tuple((graph.tensors[index].dtype, graph.tensors[index].shape) for index in graph.inputs)
        request = Request(inputs, len(graph.outputs), ARENA_BYTES)
        arrays = {"tflite": np.frombuffer(tflite, np.uint8), "samples": samples}
        return self._child.ask(Frame(asdict(request), arrays), 60).arrays["outputs"]
