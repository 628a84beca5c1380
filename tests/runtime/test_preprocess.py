from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.runtime.conftest import random_pixels
from u2net.runtime.errors import InputError
from u2net.runtime.images import read_image
from u2net.runtime.preprocess import as_pixels, as_rgb, preprocess, preprocess_batch
from u2net.runtime.presets import PRESETS

Pixels = npt.NDArray[np.uint8]

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
GREY_LEVEL = 1 / 255 / STD.min()
"""Difference of one grey level in a bright image after normalising."""

PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket")


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 3), (1, 300, 3), (3, 3, 3), (5, 7), (5, 7, 4)])
def test_rgb_stays_grey_is_repeated_and_alpha_is_left_out(shape: tuple[int, ...]) -> None:
    image = random_pixels(*shape)

    rgb = as_rgb(image)

    assert rgb.shape == (*shape[:2], 3)
    np.testing.assert_array_equal(rgb, image[:, :, None].repeat(3, axis=2) if image.ndim == 2 else image[:, :, :3])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1", "I;16"])
def test_a_picture_of_pillows_is_taken_as_its_file_is(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(random_pixels(5, 7, 4)).convert("L" if mode == "I;16" else mode).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    picture.save(tmp_path / "a.tif", exif=exif, compression="tiff_lzw")

    with Image.open(tmp_path / "a.tif") as opened:
        pixels = as_pixels(opened)

    assert pixels.shape == (7, 5, 4 if mode == "RGBA" else 3)
    np.testing.assert_array_equal(pixels, read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize("kind", [np.matrix, np.ma.MaskedArray, np.recarray])
def test_a_subclass_of_ndarray_becomes_a_plain_array(kind: type[npt.NDArray[np.uint8]]) -> None:
    image = random_pixels(5, 7)

    pixels = as_pixels(image.view(kind))

    assert type(pixels) is np.ndarray
    np.testing.assert_array_equal(pixels, image[:, :, None].repeat(3, axis=2))


@pytest.mark.parametrize("view", ["reversed", "transposed", "strided", "bgr", "fortran"])
def test_views_come_out_contiguous(view: str) -> None:
    whole = random_pixels(12, 10, 3)
    image = {
        "reversed": whole[::-1],
        "transposed": whole.transpose(1, 0, 2),
        "strided": whole[::3, ::2],
        "bgr": whole[:, :, ::-1],
        "fortran": np.asfortranarray(whole),
    }[view]

    rgb = as_rgb(image)

    assert not image.flags.c_contiguous
    assert rgb.flags.c_contiguous
    np.testing.assert_array_equal(rgb, image)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((4, 5, 3), np.float32), r"float32 of shape \(4, 5, 3\)"),
        (np.zeros((4, 5, 3)), "float64"),
        (np.zeros((4, 5, 3), np.int8), "int8"),
        (np.zeros((4, 5, 3), np.uint16), "uint16"),
        (np.zeros((4, 5), np.bool_), "bool"),
        (np.zeros(7, np.uint8), r"\(7,\)"),
        (np.zeros((), np.uint8), r"\(\)"),
        (np.zeros((4, 5, 1), np.uint8), r"\(4, 5, 1\)"),
        (np.zeros((4, 5, 2), np.uint8), r"\(4, 5, 2\)"),
        (np.zeros((3, 4, 5), np.uint8), r"\(3, 4, 5\)"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"\(1, 4, 5, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)"),
        (np.zeros((5, 0), np.uint8), r"\(5, 0\)"),
        ([[1, 2], [3, 4]], "list"),
        (Image.new("RGB", (0, 4)), r"\(4, 0, 3\)"),
        (Image.new("F", (5, 4)), "the picture cannot be read as a picture: its values have 32 bits"),
        (torch.zeros(4, 5, 3, dtype=torch.uint8), "Tensor"),
        (b"\x00" * 60, "bytes"),
        ("cat.jpg", "str"),
        (None, "NoneType"),
    ],
)
def test_anything_else_is_refused_with_what_was_found(image: object, found: str) -> None:
    with pytest.raises(InputError, match=found):
        as_rgb(image)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_rembg_resizes_with_pillows_lanczos_in_8_bits(photographs: dict[str, Pixels], name: str) -> None:
    small = np.array(Image.fromarray(photographs[name]).resize((320, 320), Image.Resampling.LANCZOS))
    expected = ((small / max(np.max(small), 1e-6) - MEAN) / STD).transpose(2, 0, 1)[None]

    got = preprocess(photographs[name], PRESETS["rembg"])

    difference = np.abs(got - expected)
    assert difference.max() <= GREY_LEVEL * 1.001
    assert difference.mean() <= GREY_LEVEL / 10


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_reference_resizes_with_antialiased_bilinear_without_rounding(
    photographs: dict[str, Pixels], name: str
) -> None:
    pixels = torch.from_numpy(photographs[name].astype(np.float64)).permute(2, 0, 1)[None]
    small = F.interpolate(pixels, size=(320, 320), mode="bilinear", antialias=True, align_corners=False)[0].numpy()
    expected = ((small / small.max()) - MEAN[:, None, None]) / STD[:, None, None]

    got = preprocess(photographs[name], PRESETS["reference"])

    np.testing.assert_allclose(got[0], expected, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_the_input_is_float32_of_the_presets_size(name: str) -> None:
    tensor = preprocess(random_pixels(50, 70, 3), PRESETS[name].with_size(64, 96))

    assert tensor.shape == (1, 3, 64, 96)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous


COLOUR = (200, 100, 50)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reference", (np.array(COLOUR) / 200 - MEAN) / STD),
        ("rembg", (np.array(COLOUR) / 200 - MEAN) / STD),
        ("portrait", (np.array(COLOUR) / 200 - MEAN) / STD),
        ("cloth", np.array(COLOUR) / 255 * 2 - 1),
        ("raw", np.array(COLOUR) / 255),
    ],
)
def test_a_flat_colour_comes_out_as_documented(name: str, expected: npt.NDArray[np.float64]) -> None:
    image = np.full((40, 30, 3), COLOUR, np.uint8)

    tensor = preprocess(image, PRESETS[name].with_size(32, 32))

    np.testing.assert_allclose(tensor[0], np.broadcast_to(expected[:, None, None], (3, 32, 32)), atol=2e-5)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("level", [0, 1, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (50, 70), (1, 400), (400, 1)])
def test_a_flat_image_gives_no_nan(name: str, level: int, shape: tuple[int, int]) -> None:
    tensor = preprocess(np.full(shape, level, np.uint8), PRESETS[name].with_size(64, 64))

    assert np.isfinite(tensor).all()
    assert np.abs(tensor).max() < 10


def test_a_black_image_is_black() -> None:
    tensor = preprocess(np.zeros((20, 30, 3), np.uint8), PRESETS["reference"])

    np.testing.assert_allclose(tensor[0, :, 7, 9], -MEAN / STD, rtol=1e-5)


def test_a_batch_equals_its_images_one_by_one(photographs: dict[str, Pixels]) -> None:
    images: list[object] = [*photographs.values(), np.zeros((9, 9), np.uint8), random_pixels(20, 30, 4)]
    preset = PRESETS["rembg"].with_size(64, 96)

    batch = preprocess_batch(images, preset)

    assert batch.shape == (len(images), 3, 64, 96)
    for row, image in zip(batch, images, strict=True):
        np.testing.assert_array_equal(row, preprocess(image, preset)[0])
