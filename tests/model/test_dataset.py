from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2net.model.dataset import Pair, check_pairs, find_pairs, hold_out, read_pair
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
    Image.new("L", (20, 30), 255).save(tmp_path / "m.png")

    check_pairs([Pair(tmp_path / "a.jpg", tmp_path / "m.png")])


def test_masks_of_ones_are_named(tmp_path: Path) -> None:
    """The metrics take what is at most 128 for ground: every model would score 0."""
    pairs = []
    for index, level in enumerate((0, 1, 127)):
        pairs.append(Pair(tmp_path / f"{index}.jpg", tmp_path / f"{index}.png"))
        Image.new("RGB", (30, 20)).save(pairs[-1].image)
        Image.new("L", (30, 20), level).save(pairs[-1].mask)

    with pytest.raises(DatasetError, match="no mask has a value above 127; a mask is 255 where the object is, not 1"):
        check_pairs(pairs)
    Image.new("L", (30, 20), 128).save(pairs[-1].mask)
    with pytest.raises(DatasetError, match=r"1\.png has no value above 1; a mask is 255 where the object is"):
        check_pairs(pairs)
    check_pairs([pairs[0], pairs[2]])


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    deep = Image.fromarray(np.full((20, 20), 20000, np.uint16))
    for name in ("a.png", "m.png"):
        deep.save(tmp_path / name)

    image, mask = read_pair(Pair(tmp_path / "a.png", tmp_path / "m.png"), 32)

    assert image.getpixel((9, 9)) == (78, 78, 78)
    assert mask.getpixel((9, 9)) == 78


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


def test_what_is_held_out_stays_so_when_pictures_are_added_and_the_share_grows() -> None:
    before = set(hold_out(make_pairs(200), 0.1)[1])

    assert before == set(hold_out(make_pairs(900), 0.1)[1]) & set(make_pairs(200))
    assert before < set(hold_out(make_pairs(200), 0.2)[1])


def test_of_few_pictures_one_is_held_out() -> None:
    training, held_out = hold_out(make_pairs(5), 1e-6)

    assert (len(training), len(held_out)) == (4, 1)


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    lying = Image.new("RGB", (30, 20))
    lying.paste((255, 0, 0), (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown upright, its left side is the top
    lying.save(tmp_path / "a.png", exif=exif)
    Image.new("L", (20, 30)).save(tmp_path / "m.png")

    image, _ = read_pair(Pair(tmp_path / "a.png", tmp_path / "m.png"), 30)

    assert image.getpixel((15, 2)) == (255, 0, 0)
    assert image.getpixel((15, 27)) == (0, 0, 0)
