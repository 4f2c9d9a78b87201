"""An int8 .tflite file run as a microcontroller runs it: tflite-micro, whose integer arithmetic is the reference for
bit-exactness. In processes of its own, because a bad file can abort the process.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np

from automcu.child import Child, Frame
from automcu.errors import CandidateFailure, InfraFailure
from automcu.export.interpreter_worker import Request
from automcu.graph.tflite.reader import read_tflite

ARENA_BYTES = 16 * 2**20


def images_to_int8(images: np.ndarray) -> np.ndarray:
    """Pixels (uint8) as the shipped file's int8 input: pixel - 128."""
    return (images ^ np.uint8(0x80)).view(np.int8)


def run_int8(
    tflite: bytes, inputs: np.ndarray, processes: int, time_limit_s: float, arena_bytes: int = ARENA_BYTES
) -> np.ndarray:
    """Outputs (int8, images x outputs) of `inputs` (int8, NHWC), for a file with one int8 input and output; as
    `run_bytes`."""
    if inputs.dtype != np.int8 or not len(inputs):
        raise CandidateFailure(f"{len(inputs)} inputs of {inputs.dtype} cannot be run; give at least one of int8")
    samples = np.ascontiguousarray(inputs).reshape(len(inputs), -1).view(np.uint8)
    return run_bytes(tflite, samples, processes, time_limit_s, arena_bytes).view(np.int8)


def run_bytes(
    tflite: bytes, samples: np.ndarray, processes: int, time_limit_s: float, arena_bytes: int = ARENA_BYTES
) -> np.ndarray:
    """The outputs of `samples`, which `processes` interpreters share; both uint8, a row each: the bytes of all inputs,
    or of all outputs, one after the other as a microcontroller holds them, whatever their types.

    Raises `CandidateFailure` when samples have the wrong size, or tflite-micro refuses the file or crashes on it,
    `InfraFailure` when a process is killed or `time_limit_s` passes.
    """
    graph = read_tflite(tflite)
    tensors = [graph.tensors[index] for index in graph.inputs]
    wanted = sum(tensor.bytes for tensor in tensors)
    if samples.ndim != 2 or samples.shape[1] != wanted or not len(samples):
        raise CandidateFailure(f"samples of shape {samples.shape} cannot be run; give rows of {wanted} bytes")
    request = Request(tuple((tensor.dtype, tensor.shape) for tensor in tensors), len(graph.outputs), arena_bytes)
    chunks = np.array_split(samples, min(processes, len(samples)))
    children = [Child("automcu.export.interpreter_worker", {"OMP_NUM_THREADS": "1"}) for _ in chunks]

    def run(child: Child, chunk: np.ndarray) -> np.ndarray:
        arrays = {"tflite": np.frombuffer(tflite, np.uint8), "samples": chunk}
        try:
            return child.ask(Frame(asdict(request), arrays), time_limit_s).arrays["outputs"]
        except InfraFailure as error:
            if child.crashed:
                raise CandidateFailure(f"tflite-micro crashed on the file ({error}); report this network") from error
            raise
        except CandidateFailure as error:
            said = child.last_words(3)
            raise CandidateFailure(
                f"tflite-micro refused the file ({error}: {said}); convert the network again"
            ) from error

    with ThreadPoolExecutor(len(children)) as pool:
        try:
            return np.concatenate(list(pool.map(run, children, chunks)))
        finally:
            for child in children:  # when one has failed the others are still at work
                child.close()


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of `outputs` (images x classes) whose largest value, the first of equals, is at the label."""
    return float(np.mean(outputs.argmax(1) == labels))
