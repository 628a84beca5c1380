from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.model.training.conftest import RECIPE
from u2net.model.dataset import find_pairs
from u2net.model.training import Phase
from u2net.model.training.batches import Batches, normalize_batch
from u2net.model.training.decoded_pairs import DecodedPairs, decode_pairs
from u2net.runtime.preprocess import preprocess
from u2net.runtime.presets import PRESETS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures(scenes: Path) -> DecodedPairs:
    return decode_pairs(find_pairs(scenes), RECIPE.size)


def drawn(batches: Batches, steps: range) -> list[int]:
    return [int(index) for step in steps for index in batches.draw(step)]


def test_each_picture_is_seen_once_an_epoch_in_another_order(pictures: DecodedPairs) -> None:
    batches = Batches(pictures, RECIPE, 3, CPU)

    first, second = drawn(batches, range(4)), drawn(batches, range(4, 8))

    assert batches.steps_per_epoch == 4
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second


def test_each_epoch_leaves_out_other_pictures(pictures: DecodedPairs) -> None:
    batches = Batches(pictures, replace(RECIPE, batch=3), 3, CPU)

    left_out = {tuple(set(range(8)) - set(drawn(batches, range(2 * epoch, 2 * epoch + 2)))) for epoch in range(10)}

    assert batches.steps_per_epoch == 2
    assert len(left_out) > 3


def test_processes_share_a_batch(pictures: DecodedPairs) -> None:
    recipe = replace(RECIPE, batch=4)
    parts = [Batches(pictures, recipe, 3, CPU, rank, 2).draw(1) for rank in (0, 1)]

    assert [len(part) for part in parts] == [2, 2]
    assert sorted(torch.cat(parts).tolist()) == sorted(Batches(pictures, recipe, 3, CPU).draw(1).tolist())


def test_a_batch_depends_on_seed_and_step_alone(pictures: DecodedPairs) -> None:
    recipe = replace(RECIPE, augmentation="strong")
    batches = Batches(pictures, recipe, 3, CPU)
    first = batches.make(5, 32)
    batches.make(6, 32)

    again = Batches(pictures, recipe, 3, CPU).make(5, 32)

    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first[0], Batches(pictures, recipe, 4, CPU).make(5, 32)[0])


def test_a_smaller_crop_sees_the_pictures_smaller(pictures: DecodedPairs) -> None:
    recipe = replace(RECIPE, phases=(Phase(0.0, 32), Phase(0.5, 48)))

    images, masks = Batches(pictures, recipe, 3, CPU).make(0, 32)

    assert (images.shape, masks.shape) == ((2, 3, 32, 32), (2, 1, 32, 32))
    assert images.is_contiguous(memory_format=torch.channels_last)
    whole = pictures.masks.float().mean((1, 2, 3))[Batches(pictures, recipe, 3, CPU).draw(0)] / 255
    torch.testing.assert_close(masks.mean((1, 2, 3)), whole, atol=0.02, rtol=0)


def test_a_batch_is_normalised_as_the_preset_normalises_each_picture(pictures: DecodedPairs) -> None:
    dark = pictures.images[:3].clone() // torch.tensor([1, 4, 200]).view(3, 1, 1, 1)

    found = normalize_batch(dark.float() / 255)

    for image, pixels in zip(found, dark, strict=True):
        expected = preprocess(pixels.permute(1, 2, 0).byte().numpy(), PRESETS["reference"].with_size(*pixels.shape[1:]))
        np.testing.assert_allclose(image.numpy(), expected[0], atol=2e-5)


def test_a_black_picture_stays_finite() -> None:
    assert normalize_batch(torch.zeros(1, 3, 4, 4)).isfinite().all()
