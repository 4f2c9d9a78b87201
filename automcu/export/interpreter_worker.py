"""The process in which tflite-micro runs; `automcu.export.interpreter` starts it."""

from dataclasses import dataclass
from math import prod

import numpy as np
from pydantic import TypeAdapter

from automcu.child import Answer, Frame, serve


@dataclass(frozen=True, slots=True)
class Request:
    """The header of a request: data type and shape of each input, of which a sample's bytes are made, and the number of
    outputs. Its arrays are the file (`tflite`) and the samples (`samples`: uint8, a row each)."""

    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    output_count: int
    arena_bytes: int


def load_answer() -> Answer:
    """Import tflite-micro; return the function that runs a file on inputs."""
    from tflite_micro.python.tflite_micro import runtime

    def answer(request: Frame) -> Frame:
        asked = TypeAdapter(Request).validate_python(request.header)
        interpreter = runtime.Interpreter.from_bytes(request.arrays["tflite"].tobytes(), arena_size=asked.arena_bytes)
        outputs = []
        for sample in request.arrays["samples"]:
            begin = 0
            for index, (dtype, shape) in enumerate(asked.inputs):
                end = begin + np.dtype(dtype).itemsize * prod(shape)
                interpreter.set_input(sample[begin:end].view(dtype).reshape(shape), index)
                begin = end
            interpreter.invoke()
            made = [interpreter.get_output(index).ravel() for index in range(asked.output_count)]
            outputs.append(np.concatenate([output.view(np.uint8) for output in made]))
        return Frame({}, {"outputs": np.stack(outputs)})

    return answer


if __name__ == "__main__":
    serve(load_answer)
