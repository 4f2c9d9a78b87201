"""The process in which tensorflow lives; `automcu.export.converter` starts it and says what it answers."""

import sys

import numpy as np

from automcu.child import Answer, Frame, serve
from automcu.errors import CandidateFailure
from automcu.export.network_json import network_from_json


def load_answer() -> Answer:
    """Import tensorflow; return the function that answers a `Converter`'s requests."""
    # Keras imports these only to offer itself to them; without them the process starts in half the time.
    sys.modules.update(dict.fromkeys(("sklearn", "pandas", "matplotlib")))  # type: ignore[arg-type]
    from automcu.export import keras_twin

    def answer(request: Frame) -> Frame:
        network = network_from_json(request.header["network"])  # type: ignore[arg-type]
        arrays = dict(request.arrays)
        calibration, probe = arrays.pop("images:calibration"), arrays.pop("images:probe")
        model = keras_twin.build(network, arrays)
        outputs = keras_twin.outputs(model, probe)
        if not np.isfinite(outputs).all():
            raise CandidateFailure("the network's outputs are not finite; lower the learning rate")
        tflite = keras_twin.convert(model, calibration)
        return Frame({}, {"tflite": np.frombuffer(tflite, np.uint8), "outputs": outputs})

    return answer


if __name__ == "__main__":
    serve(load_answer)
