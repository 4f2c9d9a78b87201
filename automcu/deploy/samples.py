"""The sample of a bundle: inputs with the outputs that a correct runtime gives, in `samples.npz`."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from automcu.errors import DataError, OutputError
from automcu.graph.int8 import Int8Graph, Tensor

_MAX_BYTES = 64_000_000
"""Of the arrays in `samples.npz` together."""
_HEADERS_BYTES = 10_000
_RANDOM_BYTES = 256_000_000
_AGAIN = "get the bundle again from its source"


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """`inputs` and `outputs` (uint8, a row a sample) are the bytes of all inputs, or outputs, as a board holds them.
    `labels` are the true classes, where they are known."""

    inputs: np.ndarray
    outputs: np.ndarray
    labels: np.ndarray | None = None

    def of_a_bundle(self) -> "Samples":
        """As many of them, from the first on, as `samples.npz` may hold."""
        row_bytes = self.inputs.shape[1] + self.outputs.shape[1] + 8  # a label has 8 bytes at most
        count = max(1, (_MAX_BYTES - _HEADERS_BYTES) // row_bytes)
        labels = None if self.labels is None else self.labels[:count]
        return Samples(self.inputs[:count], self.outputs[:count], labels)

    def to_npz(self, graph: Int8Graph) -> bytes:
        """An `.npz` file: `input_0`, ... and `output_0`, ... in the tensors' own types and shapes,
        a sample along the first axis; and `labels`."""
        arrays = {
            **_split("input", self.inputs, [graph.tensors[index] for index in graph.inputs]),
            **_split("output", self.outputs, [graph.tensors[index] for index in graph.outputs]),
        }
        if self.labels is not None:
            arrays["labels"] = self.labels
        sink = io.BytesIO()
        np.savez_compressed(sink, allow_pickle=False, **arrays)  # type: ignore[arg-type]
        return sink.getvalue()


def read_samples(npz: bytes, graph: Int8Graph) -> Samples:
    """The samples in a bundle's `samples.npz`, which is untrusted.

    Raises `OutputError` when they are not samples of the network of `graph`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(npz)) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
                raise OutputError(f"samples.npz holds more than {_MAX_BYTES:,} bytes; {_AGAIN}")
        with np.load(io.BytesIO(npz), allow_pickle=False) as arrays:
            samples = Samples(
                _join("input", arrays, [graph.tensors[index] for index in graph.inputs]),
                _join("output", arrays, [graph.tensors[index] for index in graph.outputs]),
                arrays.get("labels", None),
            )
    except OutputError:
        raise
    except Exception as error:  # zipfile and numpy answer damaged files with errors of many kinds, not all their own
        raise OutputError(f"samples.npz does not hold samples of this network; {_AGAIN}") from error
    if len(samples.inputs) != len(samples.outputs):
        raise OutputError(
            f"samples.npz holds {len(samples.inputs)} inputs and {len(samples.outputs)} outputs; {_AGAIN}"
        )
    return samples


def pack_inputs(arrays: Sequence[np.ndarray], graph: Int8Graph) -> np.ndarray:
    """The inputs of samples as rows of bytes (uint8), from one array for each input of the graph.

    An array has the input's type, with samples along the first axis and as many values in each as the input. Raises
    `DataError` when it has not.
    """
    tensors = [graph.tensors[index] for index in graph.inputs]
    if len(arrays) != len(tensors):
        raise DataError(f"{len(arrays)} arrays of inputs were given for {len(tensors)} inputs; give one for each")
    rows = []
    for array, tensor in zip(arrays, tensors, strict=True):
        if array.ndim == 0 or not len(array) or array.dtype != tensor.dtype or array[0].nbytes != tensor.bytes:
            raise DataError(
                f"inputs of type {array.dtype} and shape {array.shape} do not suit input {tensor.name}; give "
                f"{tensor.dtype} of shape (N, {', '.join(map(str, tensor.shape[1:]))})"
            )
        rows.append(_rows(array))
    if len({len(each) for each in rows}) != 1:
        raise DataError(f"the arrays of inputs hold {[len(each) for each in rows]} samples; give as many in each")
    return np.concatenate(rows, axis=1)


def random_inputs(count: int, graph: Int8Graph, seed: int) -> np.ndarray:
    """`count` samples of every value a byte can have, as rows (uint8); float inputs get values around 0.

    Raises `DataError` for more than `_RANDOM_BYTES`.
    """
    if count * sum(graph.tensors[index].bytes for index in graph.inputs) > _RANDOM_BYTES:
        raise DataError(f"{count:,} samples take more than {_RANDOM_BYTES:,} bytes; give fewer")
    random = np.random.default_rng(seed)
    arrays = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        shape = (count, *tensor.shape[1:])
        if tensor.dtype == "float32":
            arrays.append(random.normal(0, 1, shape).astype(np.float32))
        else:
            limits = np.iinfo(tensor.dtype)
            arrays.append(random.integers(limits.min, limits.max, shape, np.dtype(tensor.dtype), endpoint=True))
    return pack_inputs(arrays, graph)


def _rows(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)


def _split(name: str, rows: np.ndarray, tensors: Sequence[Tensor]) -> dict[str, np.ndarray]:
    arrays, begin = {}, 0
    for index, tensor in enumerate(tensors):
        part = np.ascontiguousarray(rows[:, begin : begin + tensor.bytes])
        arrays[f"{name}_{index}"] = part.view(tensor.dtype).reshape(len(rows), *tensor.shape[1:])
        begin += tensor.bytes
    return arrays


def _join(name: str, arrays: np.lib.npyio.NpzFile, tensors: Sequence[Tensor]) -> np.ndarray:
    parts = []
    for index, tensor in enumerate(tensors):
        array = arrays[f"{name}_{index}"]
        if array.dtype != tensor.dtype or array.shape[1:] != tensor.shape[1:] or not len(array):
            raise ValueError(f"{name}_{index} is not of the network")
        parts.append(_rows(array))
    return np.concatenate(parts, axis=1)
