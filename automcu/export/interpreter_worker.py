"""The process in which tflite-micro runs; `automcu.export.interpreter` starts it."""

import numpy as np

from automcu.child import Answer, Frame, serve


def load_answer() -> Answer:
    """Import tflite-micro; return the function that runs a file on inputs."""
    from tflite_micro.python.tflite_micro import runtime

    def answer(request: Frame) -> Frame:
        tflite, arena_bytes = request.arrays["tflite"].tobytes(), request.header["arena_bytes"]
        interpreter = runtime.Interpreter.from_bytes(tflite, arena_size=arena_bytes)
        outputs = []
        for image in request.arrays["inputs"]:
            interpreter.set_input(image[None], 0)
            interpreter.invoke()
            outputs.append(interpreter.get_output(0).ravel())
        return Frame({}, {"outputs": np.stack(outputs)})

    return answer


if __name__ == "__main__":
    serve(load_answer)
