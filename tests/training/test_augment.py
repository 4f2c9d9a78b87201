import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from automcu.training.augment import batch_of
from automcu.training.model import normalise
from automcu.training.recipe import Recipe


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_are_shifted_and_mirrored_and_no_more():
    image = torch.arange(25, dtype=torch.uint8).reshape(1, 5, 5, 1)
    chosen = torch.zeros(400, dtype=torch.int64)
    batch = batch_of(image, torch.tensor([3]), chosen, Recipe(flip=True, crop_padding=1), seeded())
    padded = np.pad(normalise(image)[0, 0].numpy(), 1, mode="reflect")
    crops = [padded[y : y + 5, x : x + 5] for y in range(3) for x in range(3)]
    expected = {crop.tobytes() for crop in crops} | {crop[:, ::-1].tobytes() for crop in crops}
    assert {one.contiguous().numpy().tobytes() for one in batch.images[:, 0]} == expected
    assert len(expected) == 18
    assert batch.labels.tolist() == [3] * 400


def test_without_augmentation_images_are_themselves():
    images = torch.arange(2 * 12, dtype=torch.uint8).reshape(2, 2, 3, 2)
    batch = batch_of(images, torch.tensor([7, 8]), torch.tensor([1, 0]), Recipe(), seeded())
    assert torch.equal(batch.images, normalise(images[[1, 0]]))
    assert (batch.labels.tolist(), batch.share) == ([8, 7], 1.0)


@given(side=st.integers(1, 12), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_cutout_greys_one_square_around_a_pixel_of_each_image(side, height, width, seed):
    images = torch.full((6, height, width, 2), 255, dtype=torch.uint8)
    batch = batch_of(images, torch.zeros(6, dtype=torch.int64), torch.arange(6), Recipe(cutout=side), seeded(seed))
    for pixels in batch.images.numpy():
        np.testing.assert_array_equal(pixels[0], pixels[1])
        rows, columns = np.nonzero(pixels[0] == 0)
        assert len(rows) > 0 and np.isin(pixels[0], (0, 127 / 128)).all()
        tall, broad = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == tall * broad and tall <= side and broad <= side
        if rows.min() > 0 and rows.max() < height - 1:
            assert tall == side


def test_mixup_blends_images_and_labels_by_the_same_share():
    images = torch.tensor([0, 64, 128, 255], dtype=torch.uint8).reshape(4, 1, 1, 1)
    shares = set()
    for seed in range(20):
        batch = batch_of(images, torch.arange(4), torch.arange(4), Recipe(mixup=0.4), seeded(seed))
        plain = normalise(images)
        assert batch.other_labels.tolist() == [3, 2, 1, 0]
        torch.testing.assert_close(batch.images, batch.share * plain + (1 - batch.share) * plain.flip(0))
        shares.add(batch.share)
    assert len(shares) == 20 and all(0 <= share <= 1 for share in shares)
