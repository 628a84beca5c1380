from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2net.model.dataset import Pair, check_pairs, find_pairs, hold_out, read_mask, read_pair
from u2net.runtime.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[list[str], list[str]], Path]:
    """Return a function that creates empty files of these names in images/ and in masks/."""

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
        (["a.jpg", "b.jpg"], ["a.png"], r"1 have no partner, the first is 'b', which masks/ lacks"),
        (["a.jpg"], ["0.png", "a.png", "c.png"], r"2 have no partner, the first is '0', which images/ lacks"),
        (["a.jpg"], ["b.png"], r"2 have no partner, the first is 'a', which masks/ lacks"),
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
    (place / missing).rmdir()

    with pytest.raises(DatasetError, match=f"has no folder for its {missing}; a data set has images/ and masks/"):
        find_pairs(place)


def test_the_plain_names_come_first(folder: Callable[[list[str], list[str]], Path]) -> None:
    place = folder(["a.jpg"], ["a.png"])
    (place / "old-masks").mkdir()

    assert find_pairs(place)[0].mask == place / "masks" / "a.png"


def test_duts_is_read_as_it_is_distributed(folder: Callable[[list[str], list[str]], Path]) -> None:
    place = folder(["a.jpg"], ["a.png"])
    (place / "images").rename(place / "DUTS-TE-Image")
    (place / "masks").rename(place / "DUTS-TE-Mask")

    (pair,) = find_pairs(place)

    assert (pair.image.parent.name, pair.mask.parent.name) == ("DUTS-TE-Image", "DUTS-TE-Mask")
    (place / "other-masks").mkdir()
    with pytest.raises(DatasetError, match="has DUTS-TE-Mask, other-masks for its masks"):
        find_pairs(place)


def test_a_pair_is_stretched_to_a_square(tmp_path: Path) -> None:
    Image.new("RGBA", (30, 20), (9, 8, 7, 100)).save(tmp_path / "a.png")
    Image.new("1", (30, 20), 1).save(tmp_path / "m.png")

    image, mask = read_pair(Pair(tmp_path / "a.png", tmp_path / "m.png"), 24)

    assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (24, 24), "L", (24, 24))
    assert image.getpixel((3, 4)) == (9, 8, 7)
    assert mask.getpixel((3, 4)) == 255


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    Image.new("L", (20, 30)).save(tmp_path / "m.png")
    pair = Pair(tmp_path / "a.png", tmp_path / "m.png")

    for reader in (lambda: read_pair(pair, 32), lambda: check_pairs([pair])):
        with pytest.raises(DatasetError, match=r"m\.png is 20×30, its picture 30×20 pixels wide and high"):
            reader()


def test_sizes_are_compared_as_the_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    Image.linear_gradient("L").resize((20, 30)).save(tmp_path / "m.png")

    check_pairs([Pair(tmp_path / "a.jpg", tmp_path / "m.png")])


@pytest.fixture
def write_pairs(tmp_path: Path) -> Callable[..., list[Pair]]:
    """Write each mask beside a black image of its size."""

    def write(*masks: Image.Image) -> list[Pair]:
        pairs = [Pair(tmp_path / f"{index}.jpg", tmp_path / f"{index}.png") for index in range(len(masks))]
        for pair, mask in zip(pairs, masks, strict=True):
            Image.new("RGB", mask.size).save(pair.image)
            mask.save(pair.mask)
        return pairs

    return write


def test_masks_of_ones_are_named(write_pairs: Callable[..., list[Pair]]) -> None:
    """Up to 128 is background in the metrics, so that every model would score 0."""
    black, ones, dark, light = (Image.new("L", (30, 20), level) for level in (0, 1, 128, 129))

    with pytest.raises(DatasetError, match="no mask has a value above 128, the largest is 128; a mask is 255 where"):
        check_pairs(write_pairs(black, ones, dark))
    with pytest.raises(DatasetError, match=r"1\.png has no value above 1; a mask is 255 where the object is"):
        check_pairs(write_pairs(black, ones, light))
    check_pairs(write_pairs(black, light))


def test_a_data_set_of_white_masks_is_refused(write_pairs: Callable[..., list[Pair]]) -> None:
    white, black = Image.new("RGBA", (30, 20), "white"), Image.new("L", (30, 20))

    with pytest.raises(DatasetError, match="no mask has a value below 129: all are white"):
        check_pairs(write_pairs(white, white))
    check_pairs(write_pairs(white, black))


def in_alpha(mask: Image.Image, colour: str) -> Image.Image:
    picture = Image.new("RGBA", mask.size, colour)
    picture.putalpha(mask)
    return picture


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("colour", ["white", "black", "red"])
def test_a_mask_in_the_alpha_channel_is_read(write_pairs: Callable[..., list[Pair]], mode: str, colour: str) -> None:
    mask = Image.new("L", (30, 20))
    mask.paste(255, (5, 5, 15, 15))
    picture = in_alpha(mask, colour)
    (pair,) = write_pairs(picture.quantize() if mode == "P" else picture.convert(mode))

    np.testing.assert_array_equal(read_mask(pair), np.asarray(mask))
    assert read_pair(pair, 24)[1].getextrema() == (0, 255)
    check_pairs([pair])


@pytest.mark.parametrize("name", ["m.png", "m.tif"])
def test_a_mask_in_the_alpha_channel_is_turned_as_the_camera_was_held(tmp_path: Path, name: str) -> None:
    mask = Image.new("L", (30, 20))
    mask.paste(255, (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    in_alpha(mask, "white").save(tmp_path / name, exif=exif)

    turned = read_mask(Pair(tmp_path / "a.png", tmp_path / name))

    assert turned.shape == (30, 20)
    assert (turned[:10].min(), turned[10:].max()) == (255, 0)


def test_the_alpha_channel_of_a_mask_with_a_drawing_is_ignored(write_pairs: Callable[..., list[Pair]]) -> None:
    drawing = Image.new("RGB", (30, 20))
    drawing.paste((255, 255, 255), (5, 5, 15, 15))
    picture = drawing.copy()
    picture.putalpha(Image.linear_gradient("L").resize((30, 20)))
    (pair,) = write_pairs(picture)

    np.testing.assert_array_equal(read_mask(pair), np.asarray(drawing.convert("L")))


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


def make_pairs(count: int) -> list[Pair]:
    return [Pair(Path(f"images/{index}.jpg"), Path(f"masks/{index}.png")) for index in range(count)]


@pytest.mark.parametrize("share", [0.02, 0.25, 0.5])
def test_about_a_share_is_held_out(share: float) -> None:
    pairs = make_pairs(2000)

    training, held_out = hold_out(pairs, share)

    assert len(held_out) == pytest.approx(2000 * share, rel=0.2)
    assert sorted([*training, *held_out], key=pairs.index) == pairs
    assert hold_out(list(reversed(pairs)), share) == (list(reversed(training)), list(reversed(held_out)))


def test_held_out_pictures_stay_held_out_when_pictures_are_added_or_the_share_grows() -> None:
    before = set(hold_out(make_pairs(200), 0.1)[1])

    assert before == set(hold_out(make_pairs(900), 0.1)[1]) & set(make_pairs(200))
    assert before < set(hold_out(make_pairs(200), 0.2)[1])


def test_one_of_a_few_pictures_is_held_out() -> None:
    training, held_out = hold_out(make_pairs(5), 1e-6)

    assert (len(training), len(held_out)) == (4, 1)
