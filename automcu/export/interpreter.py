"""An int8 .tflite file run as a microcontroller runs it: tflite-micro, whose integer arithmetic is the reference for
bit-exactness. In processes of its own, because a bad file can abort the process.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from automcu.child import Child, Frame
from automcu.errors import CandidateFailure, InfraFailure

ARENA_BYTES = 16 * 2**20


def images_to_int8(images: np.ndarray) -> np.ndarray:
    """Pixels (uint8) as the shipped file's int8 input: pixel - 128."""
    return (images ^ np.uint8(0x80)).view(np.int8)


def run_int8(
    tflite: bytes, inputs: np.ndarray, processes: int, time_limit_s: float, arena_bytes: int = ARENA_BYTES
) -> np.ndarray:
    """Outputs (int8, images x outputs) of `inputs` (int8, NHWC), which `processes` interpreters share.

    Raises `CandidateFailure` when tflite-micro refuses the file or crashes on it, `InfraFailure` when a process is
    killed or `time_limit_s` passes.
    """
    if inputs.dtype != np.int8 or not len(inputs):
        raise CandidateFailure(f"{len(inputs)} inputs of {inputs.dtype} cannot be run; give at least one of int8")
    chunks = np.array_split(inputs, min(processes, len(inputs)))
    children = [Child("automcu.export.interpreter_worker", {"OMP_NUM_THREADS": "1"}) for _ in chunks]

    def run(child: Child, chunk: np.ndarray) -> np.ndarray:
        request = Frame({"arena_bytes": arena_bytes}, {"tflite": np.frombuffer(tflite, np.uint8), "inputs": chunk})
        try:
            return child.ask(request, time_limit_s).arrays["outputs"]
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
