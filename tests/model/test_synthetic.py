import numpy as np
import pytest

from u2net.model.synthetic import make_scene, make_scenes


def test_the_seed_alone_decides_the_scene() -> None:
    np.random.seed(1)
    one, other = make_scene(0), make_scene(1)
    np.random.seed(2)
    again = make_scenes(2)

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
