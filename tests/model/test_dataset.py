import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2net.model.dataset import Pair, RandomCropFlip, SaliencyFolder, find_pairs, read_pair, to_tensors
from u2net.model.synthetic import make_scene
from u2net.runtime.errors import DatasetError

MEAN = np.array([0.485, 0.456, 0.406])[:, None, None]
STD = np.array([0.229, 0.224, 0.225])[:, None, None]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[list[str], list[str]], Path]:
    """Make a folder with empty files of these names in images/ and in masks/."""

    def make(images: list[str], masks: list[str]) -> Path:
        for side, names in (("images", images), ("masks", masks)):
            (tmp_path / side).mkdir()
            for name in names:
                (tmp_path / side / name).touch()
        return tmp_path

    return make


def test_pairs_share_a_stem_and_come_sorted(folder: Callable[[list[str], list[str]], Path]) -> None:
    place = folder(["b.jpg", "a.JPEG", "c.png", "notes.txt"], ["c.png", "a.png", "b.bmp", "list.csv"])

    pairs = find_pairs(place)

    assert [(pair.image.name, pair.mask.name) for pair in pairs] == [
        ("a.JPEG", "a.png"),
        ("b.jpg", "b.bmp"),
        ("c.png", "c.png"),
    ]


@pytest.mark.parametrize(
    ("images", "masks", "found"),
    [
        (["a.jpg", "b.jpg"], ["a.png"], r"1 have no partner, the first is 'b'"),
        (["a.jpg"], ["0.png", "a.png", "c.png"], r"2 have no partner, the first is '0'"),
        (["a.jpg"], ["b.png"], r"2 have no partner, the first is 'a'"),
        (["a.jpg", "a.png"], ["a.png"], r"a\.jpg and a\.png share the stem 'a'"),
        (["a.jpg"], ["a.bmp", "a.png"], r"a\.bmp and a\.png share the stem 'a'"),
        ([], ["a.png"], "images holds no picture"),
        (["a.jpg"], ["a.txt"], "masks holds no picture"),
    ],
)
def test_stems_that_do_not_pair_are_named(
    folder: Callable[[list[str], list[str]], Path], images: list[str], masks: list[str], found: str
) -> None:
    place = folder(images, masks)

    with pytest.raises(DatasetError, match=found) as caught:
        find_pairs(place)
    assert str(place) in str(caught.value)


@pytest.mark.parametrize("missing", ["images", "masks"])
def test_a_missing_side_is_named(folder: Callable[[list[str], list[str]], Path], missing: str) -> None:
    place = folder([], [])
    side = place / ({"images": "masks", "masks": "images"}[missing])
    (side / "a.png").touch()
    (place / missing).rmdir()

    with pytest.raises(DatasetError, match=f"{missing} is no folder; a data set has images/ and masks/"):
        find_pairs(place)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        find_pairs(tmp_path / "nowhere")


def test_a_pair_is_stretched_to_a_square(tmp_path: Path) -> None:
    Image.new("RGBA", (30, 20), (9, 8, 7, 100)).save(tmp_path / "a.png")
    Image.new("1", (30, 20), 1).save(tmp_path / "m.png")

    image, mask = read_pair(Pair(tmp_path / "a.png", tmp_path / "m.png"), 24)

    assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (24, 24), "L", (24, 24))
    assert image.getpixel((3, 4)) == (9, 8, 7)
    assert mask.getpixel((3, 4)) == 255


@pytest.mark.parametrize("side", ["image", "mask"])
@pytest.mark.parametrize("damage", ["missing", "text", "short", "corrupt"])
def test_a_damaged_picture_is_named(scenes: Path, tmp_path: Path, side: str, damage: str) -> None:
    good = find_pairs(scenes)[0]
    bad = tmp_path / "bad.png"
    content = good.image.read_bytes()
    if damage != "missing":
        broken = {"text": b"text", "short": content[:100], "corrupt": content[:60] + b"garbage" + content[67:]}
        bad.write_bytes(broken[damage])
    pair = Pair(bad, good.mask) if side == "image" else Pair(good.image, bad)

    with pytest.raises(DatasetError, match=r"bad\.png cannot be read as a picture"):
        read_pair(pair, 32)


def test_a_picture_too_large_to_trust_is_named(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)

    with pytest.raises(DatasetError, match=r"0000\.png cannot be read"):
        read_pair(find_pairs(scenes)[0], 32)


def test_tensors_are_normalised_as_the_reference_preset_does() -> None:
    pixels, truth = make_scene(0, 16, 24)

    image, mask = to_tensors(Image.fromarray(pixels), Image.fromarray(truth))

    expected = (pixels.transpose(2, 0, 1) / pixels.max() - MEAN) / STD
    np.testing.assert_allclose(image.numpy(), expected, atol=2e-5)
    np.testing.assert_array_equal(mask.numpy()[0], truth / 255)
    assert (image.dtype, mask.dtype) == (image.float().dtype, image.float().dtype)


def test_a_soft_mask_stays_soft() -> None:
    _, mask = to_tensors(Image.new("RGB", (4, 4)), Image.new("L", (4, 4), 51))

    assert mask.shape == (1, 4, 4)
    np.testing.assert_allclose(mask.numpy(), 0.2)


def test_the_folder_gives_its_pairs(scenes: Path) -> None:
    data = SaliencyFolder(find_pairs(scenes), 48)

    image, mask = data[3]

    assert len(data) == 8
    assert (tuple(image.shape), tuple(mask.shape)) == ((3, 48, 48), (1, 48, 48))
    assert 0 <= mask.min() < mask.max() <= 1


def test_augmenting_comes_before_normalising(scenes: Path) -> None:
    image, mask = SaliencyFolder(find_pairs(scenes), 48, RandomCropFlip(32))[0]

    assert (tuple(image.shape), tuple(mask.shape)) == ((3, 32, 32), (1, 32, 32))
    brightest = (image.numpy() * STD + MEAN).max()
    assert brightest == pytest.approx(1, abs=1e-4)


def position_picture(size: int) -> tuple[Image.Image, Image.Image]:
    """An image whose red is its column and green its row, and a mask that is the column."""
    rows, columns = np.mgrid[:size, :size].astype(np.uint8)
    return Image.fromarray(np.dstack([columns, rows, rows])), Image.fromarray(columns)


def crops(count: int) -> list[tuple[int, int, bool]]:
    """Left, top and flip of so many seeded crops of 40 to 32 pixels; image and mask must agree."""
    random.seed(0)
    found = []
    for _ in range(count):
        image, mask = RandomCropFlip(32)(*position_picture(40))
        pixels, truth = np.asarray(image), np.asarray(mask)
        np.testing.assert_array_equal(pixels[:, :, 0], truth)
        assert pixels.shape == (32, 32, 3)
        found.append((int(pixels[:, :, 0].min()), int(pixels[:, :, 1].min()), bool(truth[0, 0] > truth[0, -1])))
    return found


def test_crops_reach_every_place_and_flip_half_the_time() -> None:
    found = crops(300)

    assert {left for left, _, _ in found} == set(range(9))
    assert {top for _, top, _ in found} == set(range(9))
    assert 100 < sum(flipped for _, _, flipped in found) < 200


def test_crops_follow_the_seed() -> None:
    assert crops(20) == crops(20)


def test_a_crop_of_the_whole_picture_goes() -> None:
    image, _ = RandomCropFlip(40)(*position_picture(40))

    assert image.size == (40, 40)
