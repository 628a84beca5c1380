from pathlib import Path

import numpy as np
import pytest

from u2net.model.dataset import find_pairs
from u2net.model.synthetic import make_scene, make_scenes, write_scenes
from u2net.runtime.images import read_image


def test_the_seed_alone_decides_the_scene() -> None:
    np.random.seed(1)
    one, other = make_scene(10, 48, 64), make_scene(11, 48, 64)
    np.random.seed(2)
    again = make_scenes(2, seed=10, height=48, width=64)

    np.testing.assert_array_equal(again, [one[0], other[0]])
    assert (one[0] != other[0]).mean() > 0.5
    assert (one[1] != other[1]).any()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 96), (320, 200)])
def test_a_scene_has_the_size_asked_for(height: int, width: int) -> None:
    image, mask = make_scene(3, height, width)

    assert image.shape == (height, width, 3)
    assert mask.shape == (height, width)
    assert image.dtype == mask.dtype == np.uint8


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_has_an_object_and_a_background(seed: int) -> None:
    mask = make_scene(seed, 64, 64)[1]

    assert set(np.unique(mask)) == {0, 255}
    assert 0.005 < (mask > 0).mean() < 0.7


def test_the_object_differs_from_its_background() -> None:
    differences = []
    for seed in range(20):
        image, mask = make_scene(seed, 64, 64)
        differences.append(np.abs(image[mask > 0].mean(axis=0) - image[mask == 0].mean(axis=0)).max())

    assert np.median(differences) > 30


def test_written_scenes_are_a_data_set(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set", 3, seed=10, size=40)

    pairs = find_pairs(tmp_path / "set")

    assert [pair.image.name for pair in pairs] == ["0000.png", "0001.png", "0002.png"]
    image, mask = make_scene(12, 40, 40)
    np.testing.assert_array_equal(read_image(pairs[2].image), image)
    np.testing.assert_array_equal(read_image(pairs[2].mask)[:, :, 0], mask)
