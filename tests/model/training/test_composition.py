import pytest
import torch
from torch import Tensor

from u2net.model.training.composition import AREAS, SHARE, compose

SIDE = 64


def squares(count: int, *, first: int = 22, last: int = 50) -> tuple[Tensor, Tensor]:
    """Return red squares on green of random brightness, with their masks; no object holds green."""
    masks = torch.zeros(count, 1, SIDE, SIDE)
    masks[:, :, first:last, first:last] = 1
    images = torch.cat([masks, torch.rand(count, 1, SIDE, SIDE) * (1 - masks), torch.zeros_like(masks)], 1)
    return images, masks


def test_a_third_is_composed_and_the_rest_is_unchanged() -> None:
    torch.manual_seed(0)
    before, masks_before = squares(30)

    images, masks = compose(before, masks_before)

    changed = (masks != masks_before).flatten(1).any(1)
    assert int(changed.sum()) == round(30 * SHARE)
    assert torch.equal(images[~changed], before[~changed])


def test_a_composed_picture_shows_its_object_and_no_other() -> None:
    torch.manual_seed(0)
    before, masks_before = squares(90)

    images, masks = compose(before, masks_before)

    changed = (masks != masks_before).flatten(1).any(1)
    red, cover = images[changed, :1], masks[changed]
    assert red[cover > 0.99].min() > 0.35, "the object may only be tinted"
    assert red[cover == 0].max() == 0, "the background must not show its own object"
    assert images[changed, 1:2][cover == 0].mean() > 0.3, "the rest is background"


def test_objects_become_small_and_go_everywhere() -> None:
    torch.manual_seed(0)
    before, masks_before = squares(600)

    _, masks = compose(before, masks_before)

    masks = masks[(masks != masks_before).flatten(1).any(1)]
    areas = masks.mean((1, 2, 3))
    assert 0.8 * AREAS[0] < areas.min() < 0.02
    assert 0.17 < areas.max() < 1.1 * AREAS[1]
    reached = (masks > 0.5).any(0)[0]
    assert reached.float().mean() > 0.9
    assert areas.std() > 0.03


@pytest.mark.parametrize(
    ("first", "last"),
    [
        pytest.param(0, 30, id="objects at the edge, which may be cut off"),
        pytest.param(10, 54, id="no strip wide enough"),
        pytest.param(30, 33, id="objects too small"),
        pytest.param(0, 0, id="no objects"),
    ],
)
def test_pictures_that_cannot_be_composed_are_unchanged(first: int, last: int) -> None:
    before, masks_before = squares(9, first=first, last=last)

    images, masks = compose(before, masks_before)

    assert torch.equal(images, before)
    assert torch.equal(masks, masks_before)


def test_a_shrunk_object_keeps_its_mean_colour() -> None:
    """Every second column of the object is bright; skipped pixels would make the result bright or dark at random."""
    torch.manual_seed(0)
    before, masks_before = squares(300, first=20, last=60)
    before[:, :1, :, ::2] = 0
    before[:, 1:] = 0

    images, masks = compose(before, masks_before)

    small = ((masks != masks_before).flatten(1).any(1)) & (masks.mean((1, 2, 3)) < 0.03)
    shares = (images[small, :1] * (masks[small] > 0.99)).sum((1, 2, 3)) / (masks[small] > 0.99).sum((1, 2, 3))
    # Half the brightness of the square, less the tint.
    assert int(small.sum()) > 20
    assert shares.min() > 0.5 * 0.35
    assert shares.max() < 0.55
