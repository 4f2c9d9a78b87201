"""Trained networks to int8 .tflite files, by tensorflow in a process of its own. Imports no tensorflow."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from automcu.child import Child, Frame
from automcu.errors import CandidateFailure
from automcu.export.int8_file import Int8File
from automcu.export.network_json import network_to_json
from automcu.graph.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """An int8 .tflite file, and the Keras network's float outputs (float32, images x outputs) on the probe images."""

    tflite: bytes
    probe_outputs: np.ndarray


class Converter:
    """Holds the process in which tensorflow runs: started with the first conversion (or `start`), restarted when it
    has died, ended by `close` or with this process. A context manager. Safe to use from several threads, one
    conversion at a time.

    Every conversion raises `CandidateFailure` when this network cannot be converted, and `InfraFailure` when the
    process dies or `time_limit_s` passes (which includes the start, 8 to 20 s).
    """

    def __init__(self, threads: int = 1, time_limit_s: float = 300.0) -> None:
        self._threads = threads
        self._time_limit_s = time_limit_s
        self._child: Child | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process without waiting for it, so that tensorflow loads while something else is done."""
        with self._lock:
            self._running_child()

    def convert(
        self,
        network: Network,
        weights: Mapping[str, np.ndarray],
        calibration_images: np.ndarray,
        probe_images: np.ndarray,
    ) -> Conversion:
        """The int8 file of `network` with `weights` (see `Network.parameter_shapes`).

        Images are uint8, NHWC. The file takes pixel - 128 as int8 and gives logits as int8; it is checked to be int8
        throughout and made of the project's operators (`Int8File.check`).
        """
        _check_weights(network, weights)
        for images in (calibration_images, probe_images):
            if images.dtype != np.uint8 or images.shape[1:] != network.input_shape or not len(images):
                raise CandidateFailure(
                    f"images of {images.dtype} and shape {images.shape} do not suit a network for "
                    f"{network.input_shape}; give at least one uint8 image of that shape"
                )
        arrays = {**weights, "images:calibration": calibration_images, "images:probe": probe_images}
        request = Frame({"network": network_to_json(network)}, arrays)
        with self._lock:
            answer = self._running_child().ask(request, self._time_limit_s)
        tflite = answer.arrays["tflite"].tobytes()
        Int8File.read(tflite).check()
        return Conversion(tflite, answer.arrays["outputs"])

    def close(self) -> None:
        """End the process; the next conversion starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def __enter__(self) -> "Converter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running_child(self) -> Child:
        if self._child is None or self._child.returncode is not None:
            self.close()
            threads = str(self._threads)
            self._child = Child(
                "automcu.export.worker",
                {
                    "CUDA_VISIBLE_DEVICES": "-1",
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                    "OMP_NUM_THREADS": threads,
                    "TF_NUM_INTRAOP_THREADS": threads,
                    "TF_NUM_INTEROP_THREADS": threads,
                },
            )
        return self._child


def _check_weights(network: Network, weights: Mapping[str, np.ndarray]) -> None:
    if {name: array.shape for name, array in weights.items()} != dict(network.parameter_shapes):
        raise CandidateFailure("the weights are not those of this network; load the ones trained for it")
