from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from u2net.runtime.errors import ArtifactError, InputError
from u2net.runtime.postprocess import cut_out, postprocess, to_grey
from u2net.runtime.preprocess import as_rgb
from u2net.runtime.presets import PRESETS, Kernel

Maps = npt.NDArray[np.float32]

REFERENCE, RAW = PRESETS["reference"], PRESETS["raw"]
FLOOR = 1 / 255


def ramp(low: float, high: float, height: int = 8, width: int = 8) -> Maps:
    return np.linspace(low, high, height * width, dtype=np.float32).reshape(1, height, width)


def test_stretching_reaches_both_ends() -> None:
    mask = postprocess(ramp(0.2, 0.6), REFERENCE, 8, 8)

    np.testing.assert_allclose(mask, ramp(0, 1)[0], atol=1e-6)


def test_without_stretching_probabilities_stay() -> None:
    np.testing.assert_array_equal(postprocess(ramp(0.2, 0.6), RAW, 8, 8), ramp(0.2, 0.6)[0])


@pytest.mark.parametrize("level", [0.0, 0.003, 0.5, 1.0])
def test_a_flat_map_is_left_alone(level: float) -> None:
    mask = postprocess(np.full((1, 8, 8), level, np.float32), REFERENCE, 8, 8)

    np.testing.assert_array_equal(mask, np.float32(level))


@pytest.mark.parametrize(("height", "stretched"), [(0.9, False), (1.1, True)])
def test_a_nearly_flat_map_is_not_stretched_to_an_object(height: float, stretched: bool) -> None:
    mask = postprocess(ramp(0.01, 0.01 + height * FLOOR), REFERENCE, 8, 8)

    assert bool(mask.max() == 1.0) is stretched
    assert bool(mask.min() == 0.0) is stretched


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("classes", [1, 4])
def test_nan_and_inf_blame_the_artifact(value: float, classes: int) -> None:
    maps = np.full((classes, 8, 8), 0.5, np.float32)
    maps[0, 3, 4] = value

    with pytest.raises(ArtifactError, match="NaN or Inf"):
        postprocess(maps, REFERENCE, 8, 8)


def test_the_mask_of_several_classes_is_everything_but_the_background() -> None:
    maps = np.stack([np.full((4, 4), part, np.float32) for part in (0.4, 0.3, 0.2, 0.1)])

    np.testing.assert_allclose(postprocess(maps, RAW, 4, 4), 0.6, atol=1e-6)


def test_invert_turns_dark_strokes_into_mask() -> None:
    mask = postprocess(ramp(0.2, 0.6), replace(RAW, invert=True), 8, 8)

    np.testing.assert_allclose(mask, 1 - ramp(0.2, 0.6)[0], atol=1e-6)


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
def test_overshoot_of_the_kernel_is_clipped(kernel: Kernel) -> None:
    edge = np.zeros((1, 8, 8), np.float32)
    edge[:, :, 4:] = 1

    mask = postprocess(edge, replace(RAW, mask_kernel=kernel), 64, 64)

    assert mask.min() == 0.0
    assert mask.max() == 1.0


PLANES = hnp.arrays(
    np.float32,
    st.tuples(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(0, 1, width=32),
)


@settings(max_examples=60, deadline=None)
@given(maps=PLANES, name=st.sampled_from(sorted(PRESETS)), height=st.integers(1, 20), width=st.integers(1, 20))
def test_a_mask_is_always_within_0_and_1(maps: Maps, name: str, height: int, width: int) -> None:
    mask = postprocess(maps, PRESETS[name], height, width)

    assert mask.shape == (height, width)
    assert np.isfinite(mask).all()
    assert mask.min() >= 0
    assert mask.max() <= 1


def test_grey_levels_are_rounded() -> None:
    mask = np.array([[0.0, 0.4 / 255, 0.6 / 255, 127.4 / 255, 127.6 / 255, 1.0]], np.float32)

    grey = to_grey(mask)

    assert grey.dtype == np.uint8
    assert grey.tolist() == [[0, 0, 1, 127, 128, 255]]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_a_cut_out_is_the_image_with_the_mask_as_alpha(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    mask = np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7)

    pixels = cut_out(image, mask)

    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels[:, :, :3], as_rgb(image))
    np.testing.assert_array_equal(pixels[:, :, 3], to_grey(mask))


@pytest.mark.parametrize("as_picture", [False, True])
def test_what_is_transparent_in_the_image_is_transparent_in_the_cut_out(as_picture: bool) -> None:
    image = np.full((1, 4, 4), 200, np.uint8)
    image[0, :, 3] = (0, 100, 255, 255)
    mask = np.array([[1, 1, 1, 0.5]], np.float32)

    pixels = cut_out(Image.fromarray(image) if as_picture else image, mask)

    assert pixels[0, :, 3].tolist() == [0, 100, 255, 128]
    assert (pixels[:, :, :3] == 200).all()


@pytest.mark.parametrize("mask", [np.full((4, 5), 255, np.uint8), np.full((4, 5), 2.0), np.full((4, 5), np.nan), None])
def test_what_is_no_mask_is_refused(mask: Any) -> None:
    with pytest.raises(InputError, match="mask"):
        cut_out(np.zeros((4, 5, 3), np.uint8), mask)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"the mask is \(4, 7\), the image \(5, 7\) pixels"):
        cut_out(np.zeros((5, 7, 3), np.uint8), np.ones((4, 7), np.float32))
