import numpy as np
import pytest

from automcu.errors import CandidateFailure, InfraFailure
from automcu.export.int8_file import Int8File
from automcu.export.interpreter import accuracy, images_to_int8, run_bytes, run_int8
from tests.export.small import SMALL, SMALL_TFLITE, random_images
from tests.graph.shared_models import shared


def inputs(count: int) -> np.ndarray:
    return images_to_int8(random_images(SMALL, 1, count))


def test_int8_input_is_pixel_minus_128() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    assert images_to_int8(pixels).tolist() == list(range(-128, 128))


def test_outputs_come_in_order_however_many_processes_share_the_images() -> None:
    images = inputs(7)
    alone = run_int8(SMALL_TFLITE, images, processes=1, time_limit_s=30)
    assert alone.shape == (7, 5) and alone.dtype == np.int8
    assert len({row.tobytes() for row in alone}) > 1
    np.testing.assert_array_equal(run_int8(SMALL_TFLITE, images, processes=3, time_limit_s=30), alone)
    np.testing.assert_array_equal(run_int8(SMALL_TFLITE, images[:1], processes=4, time_limit_s=30), alone[:1])


def test_bad_files_and_inputs_are_the_candidates_failure() -> None:
    for bad in (b"", b"no model", SMALL_TFLITE[:200]):
        with pytest.raises(CandidateFailure, match=r"no \.tflite file|damaged"):
            run_int8(bad, inputs(2), processes=1, time_limit_s=30)
    with pytest.raises(CandidateFailure, match="give rows of"):
        run_int8(SMALL_TFLITE, inputs(2)[:, :-1], processes=1, time_limit_s=30)
    with pytest.raises(CandidateFailure, match="allocate"):
        run_int8(SMALL_TFLITE, inputs(2), processes=1, time_limit_s=30, arena_bytes=256)
    with pytest.raises(CandidateFailure, match="int8"):
        run_int8(SMALL_TFLITE, inputs(2).astype(np.float32), processes=1, time_limit_s=30)


def test_samples_are_bytes_whatever_the_types_of_the_ends() -> None:
    model = shared("st_models/resnet_v1_8_32_tfs_int8.tflite").read_bytes()  # uint8 in, float32 out
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32 * 32 * 3), np.uint8)
    shares = run_bytes(model, pixels, processes=1, time_limit_s=30).view(np.float32)
    assert shares.shape == (3, 10) and np.allclose(shares.sum(1), 1, atol=0.05)


def test_a_time_limit_is_the_infrastructures_failure() -> None:
    with pytest.raises(InfraFailure, match="took longer"):
        run_int8(SMALL_TFLITE, inputs(2), processes=2, time_limit_s=0.01)


def test_accuracy_takes_the_first_of_equal_outputs() -> None:
    outputs = np.array([[1, 3, 3], [5, 5, 0], [-1, -2, 0], [9, 0, 0]], np.int8)
    assert accuracy(outputs, np.array([1, 1, 2, 0])) == 0.75


def test_a_file_tells_its_shapes_and_quantization() -> None:
    file = Int8File.read(SMALL_TFLITE)
    file.check()
    assert file.input_shape == SMALL.input_shape and file.output_count == 5
    assert (file.input.scale, file.input.zero_point) == (1 / 128, 0)
    assert file.operators == ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "AVERAGE_POOL_2D", "FULLY_CONNECTED")


@pytest.mark.parametrize("cut", [0, 3, 8, 40, 300, 1_000, 2_000])
def test_a_damaged_file_is_a_typed_error(cut: int) -> None:
    with pytest.raises(CandidateFailure, match=r"not a \.tflite model"):
        Int8File.read(SMALL_TFLITE[:cut])
    with pytest.raises(CandidateFailure):
        Int8File.read(SMALL_TFLITE[:cut] + bytes(len(SMALL_TFLITE) - cut))
