import pytest
import torch
from torch import Tensor

from u2net.model.training.augmentation import AUGMENTATIONS, AugmentationName, find_augmentation

SIDE, CROP = 40, 32


def positions(count: int) -> tuple[Tensor, Tensor]:
    """Return images whose red is the column and whose green is the row, from 0 to 1, and masks of the column."""
    rows, columns = torch.meshgrid(torch.arange(SIDE) / SIDE, torch.arange(SIDE) / SIDE, indexing="ij")
    image = torch.stack([columns, rows, rows])
    return image.expand(count, 3, SIDE, SIDE).clone(), columns.expand(count, 1, SIDE, SIDE).clone()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_result_is_a_batch_of_crops(name: AugmentationName) -> None:
    torch.manual_seed(0)

    images, masks = find_augmentation(name, CROP)(torch.rand(64, 3, SIDE, SIDE), torch.rand(64, 1, SIDE, SIDE))

    assert (images.shape, masks.shape) == ((64, 3, CROP, CROP), (64, 1, CROP, CROP))
    for values in (images, masks):
        assert values.dtype == torch.float32
        assert 0 <= values.min() < values.max() <= 1


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_seed_decides_the_result(name: AugmentationName) -> None:
    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return find_augmentation(name, CROP)(*positions(4))[0]

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_crop_flip_reaches_every_position_and_flips_half_of_the_pictures() -> None:
    torch.manual_seed(0)
    images, masks = find_augmentation("crop-flip", CROP)(*positions(300))

    torch.testing.assert_close(images[:, :1], masks)
    lefts = {round(float(image[0].min() * SIDE)) for image in images}
    tops = {round(float(image[1].min() * SIDE)) for image in images}
    assert lefts == tops == set(range(SIDE - CROP + 1))
    assert 100 < sum(bool(mask[0, 0, 0] > mask[0, 0, -1]) for mask in masks) < 200


def test_strong_moves_the_mask_with_its_picture() -> None:
    """The mask covers a bright square on black, whatever its new position and colour."""
    squares = torch.zeros(40, 1, 64, 64)
    squares[:, :, 24:40, 24:40] = 1
    torch.manual_seed(0)

    images, masks = find_augmentation("strong", 56)(squares.expand(-1, 3, -1, -1).clone(), squares)

    overlaps, centres, sizes = [], [], []
    for image, mask in zip(images, masks, strict=True):
        seen, meant = image.mean(0) > image.mean(0).max() / 2, mask[0] > 0.5
        overlaps.append(float((seen & meant).sum() / (seen | meant).sum()))
        centres.append(meant.nonzero().float().mean(0))
        sizes.append(float(meant.sum()))
    assert min(overlaps) > 0.7
    assert sum(overlaps) / len(overlaps) > 0.9
    assert torch.stack(centres).std(0).min() > 3
    assert max(sizes) > 2 * min(sizes)


def test_strong_changes_the_colours_of_each_picture_separately() -> None:
    torch.manual_seed(0)
    images, _ = find_augmentation("strong", CROP)(torch.full((32, 3, SIDE, SIDE), 0.5), torch.zeros(32, 1, SIDE, SIDE))

    assert images.mean((2, 3)).std(0).min() > 0.02
