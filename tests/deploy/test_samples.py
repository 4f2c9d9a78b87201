import io
import zipfile

import numpy as np
import pytest

from automcu.deploy.samples import Samples, pack_inputs, random_inputs, read_samples
from automcu.errors import DataError, OutputError
from automcu.graph.int8 import Int8Graph, Tensor

GRAPH = Int8Graph(
    (Tensor("image", (1, 4, 3, 2), "uint8"), Tensor("more", (1, 5), "float32"), Tensor("out", (1, 3), "int8")),
    (),
    (0, 1),
    (2,),
)


def arrays(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (count, 4, 3, 2), np.uint8), random.normal(size=(count, 5)).astype(np.float32)]


def samples() -> Samples:
    outputs = np.random.default_rng(2).integers(0, 256, (4, 3), np.uint8)
    return Samples(pack_inputs(arrays(4), GRAPH), outputs, np.array([0, 1, 2, 0]))


def test_rows_hold_the_bytes_of_all_inputs_in_order() -> None:
    image, more = arrays(4)
    rows = pack_inputs([image, more], GRAPH)
    assert rows.shape == (4, 24 + 20) and rows.dtype == np.uint8
    assert rows[2].tobytes() == image[2].tobytes() + more[2].tobytes()
    with_batch = pack_inputs([image[:, None], more], GRAPH)  # each sample with its own batch axis of 1
    np.testing.assert_array_equal(with_batch, rows)


def test_samples_come_back_from_their_file_in_the_tensors_types() -> None:
    npz = samples().to_npz(GRAPH)
    with np.load(io.BytesIO(npz), allow_pickle=False) as stored:
        assert (stored["input_0"].shape, stored["input_1"].dtype, stored["output_0"].dtype) == (
            (4, 4, 3, 2),
            np.float32,
            np.int8,
        )
    back = read_samples(npz, GRAPH)
    np.testing.assert_array_equal(back.inputs, samples().inputs)
    np.testing.assert_array_equal(back.outputs, samples().outputs)
    assert back.labels is not None and back.labels.tolist() == [0, 1, 2, 0]
    assert samples().to_npz(GRAPH) == npz


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([arrays(2)[0]], "1 arrays"),
        ([arrays(2)[0].astype(np.int8), arrays(2)[1]], "of type int8"),
        ([arrays(2)[0][:, :3], arrays(2)[1]], r"give uint8 of shape \(N, 4, 3, 2\)"),
        ([arrays(2)[0], arrays(3)[1]], r"\[2, 3\] samples"),
        ([arrays(0)[0], arrays(0)[1]], r"shape \(0, 4, 3, 2\)"),
        ([np.uint8(3), arrays(1)[1]], r"shape \(\)"),
    ],
)
def test_inputs_that_do_not_suit_are_told(given: list[np.ndarray], told: str) -> None:
    with pytest.raises(DataError, match=told):
        pack_inputs([np.asarray(array) for array in given], GRAPH)


def test_random_inputs_follow_from_the_seed_and_use_the_whole_range() -> None:
    rows = random_inputs(64, GRAPH, 3)
    np.testing.assert_array_equal(rows, random_inputs(64, GRAPH, 3))
    assert (rows[:, :24].min(), rows[:, :24].max()) == (0, 255)
    assert np.isfinite(rows[:, 24:].copy().view(np.float32)).all()


def test_what_is_not_samples_of_the_network_is_a_typed_error() -> None:
    good = samples().to_npz(GRAPH)
    other = io.BytesIO()
    np.savez(other, input_0=np.zeros((1, 9), np.uint8), input_1=np.zeros((1, 5), np.float32), output_0=np.zeros((1, 3)))
    pickled = io.BytesIO()
    np.savez(pickled, input_0=np.array([{}], object))
    for bad in (b"", b"PK", good[:-30], good[:200], other.getvalue(), pickled.getvalue()):
        with pytest.raises(OutputError, match="does not hold samples of this network"):
            read_samples(bad, GRAPH)
    for unequal in (3, 5):
        outputs = np.zeros((unequal, 3), np.uint8)
        with pytest.raises(OutputError, match=f"4 inputs and {unequal} outputs"):
            read_samples(Samples(samples().inputs, outputs).to_npz(GRAPH), GRAPH)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("input_0.npy", bytes(70_000_000))
    with pytest.raises(OutputError, match="holds more than"):
        read_samples(bomb.getvalue(), GRAPH)


@pytest.mark.parametrize(
    "header",
    [b"'''", b"(" * 9_000, *(b"{'descr': '|u1', 'fortran_order': False, 'shape': (%s,)}" % extent for extent in
                           (b"-1", b"True", b"9" * 30, b"99999999999999"))],
)  # fmt: skip
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
def test_damaged_arrays_are_a_typed_error(header: bytes, method: int) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        archive.writestr("input_0.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    damaged = bytearray(sink.getvalue())
    damaged[45:55] = bytes(10) if method == zipfile.ZIP_LZMA else damaged[45:55]
    with pytest.raises(OutputError, match="does not hold samples of this network"):
        read_samples(bytes(damaged), GRAPH)


def test_a_bundle_takes_the_first_samples_that_its_readers_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automcu.deploy.samples._MAX_BYTES", 64_000)
    many = Samples(np.zeros((1_600, 24 + 20), np.uint8), np.zeros((1_600, 3), np.uint8), np.arange(1_600))
    with pytest.raises(OutputError, match="holds more than"):
        read_samples(many.to_npz(GRAPH), GRAPH)
    kept = many.of_a_bundle()
    assert kept.labels is not None and len(kept.inputs) == len(kept.outputs) == len(kept.labels) < 1_600
    assert len(read_samples(kept.to_npz(GRAPH), GRAPH).inputs) == len(kept.inputs) > 900
    assert samples().of_a_bundle().to_npz(GRAPH) == samples().to_npz(GRAPH)


def test_more_random_samples_than_memory_is_told() -> None:
    with pytest.raises(DataError, match="give fewer"):
        random_inputs(10**12, GRAPH, seed=0)
