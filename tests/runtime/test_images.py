import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from u2net.runtime.errors import InputError
from u2net.runtime.images import find_images, read_image, read_size, write_image

ORIENTATION = 0x0112
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 4), dtype=np.uint8)


@pytest.mark.parametrize("bands", [3, 4])
def test_what_is_written_is_read_back_as_rgb(tmp_path: Path, bands: int) -> None:
    write_image(tmp_path / "a.png", PIXELS[:, :, :bands])

    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS[:, :, :3])


def test_grey_is_written_as_grey_and_read_as_rgb(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", PIXELS[:, :, 0])

    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "L"
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS[:, :, :1].repeat(3, axis=2))


def test_alpha_is_kept_in_the_file(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", PIXELS)

    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), PIXELS)


def test_a_photograph_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    picture = Image.fromarray(PIXELS[:, :, :3])
    exif = picture.getexif()
    exif[ORIENTATION] = 6  # shown a quarter turn clockwise
    picture.save(tmp_path / "a.png", exif=exif)

    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(PIXELS[:, :, :3], -1))


def _save_with_exif(path: Path, *entries: tuple[int, int, int, bytes]) -> None:
    """As JPEG with these tags, each with its kind, count and four bytes of value, right or wrong."""
    body = b"".join(struct.pack("<HHI4s", *entry) for entry in sorted(entries))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)
    Image.fromarray(PIXELS[:, :, :3]).save(path, quality=100, subsampling=0, exif=exif)


SHORT, ASCII, LONG = 3, 2, 4
TURNED = (ORIENTATION, SHORT, 1, struct.pack("<HH", 6, 0))


@pytest.mark.parametrize(
    "odd",
    [(259, LONG, 1, struct.pack("<I", 70000)), (282, ASCII, 4, b"abc\0"), (256, ASCII, 2, b"9\0\0\0")],
    ids=["compression too large", "resolution in words", "width in words"],
)
def test_a_damaged_tag_beside_the_orientation_does_no_harm(tmp_path: Path, odd: tuple[int, int, int, bytes]) -> None:
    _save_with_exif(tmp_path / "a.jpg", TURNED, odd)

    assert read_image(tmp_path / "a.jpg").shape == (9, 6, 3)
    assert read_size(tmp_path / "a.jpg") == (6, 9)


@pytest.mark.parametrize(
    "entry",
    [(ORIENTATION, ASCII, 2, b"6\0\0\0"), (ORIENTATION, 7, 1, b"\6\0\0\0"), (ORIENTATION, SHORT, 1, b"\t\0\0\0")],
    ids=["in words", "of no kind", "nine"],
)
def test_an_orientation_that_is_none_turns_nothing(tmp_path: Path, entry: tuple[int, int, int, bytes]) -> None:
    _save_with_exif(tmp_path / "a.jpg", entry)

    assert read_image(tmp_path / "a.jpg").shape == (6, 9, 3)
    assert read_size(tmp_path / "a.jpg") == (9, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_what_pillow_makes_of_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(PIXELS[:, :, :3]).save(tmp_path / "a.png", exif=exif)

    with Image.open(tmp_path / "a.png") as picture:
        wanted = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), wanted)
    assert read_size(tmp_path / "a.png") == (wanted.shape[1], wanted.shape[0])


def test_a_stream_is_read_like_a_file() -> None:
    stream = BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")

    np.testing.assert_array_equal(read_image(stream), PIXELS[:, :, :3])
    with pytest.raises(InputError, match="the stream cannot be read as a picture"):
        read_image(BytesIO(b"no picture"))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_of_32_bits_are_refused_not_clipped(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.linspace(0, 1000, 12).reshape(3, 4).astype(dtype)).save(tmp_path / "a.tif")

    with pytest.raises(InputError, match=r"a\.tif cannot be read as a picture: its values have 32 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("shape", [(4, 4, 5), (4,)])
def test_an_array_that_is_no_picture_is_not_written(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="a picture is uint8"):
        write_image(tmp_path / "a.png", np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    picture = Image.new("P", (3, 2), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(tmp_path / "a.png")

    assert (read_image(tmp_path / "a.png") == (10, 20, 30)).all()


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 25700, 65535]], np.uint16)).save(tmp_path / "a.png")

    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 100, 255]


def _damaged(folder: Path, how: str) -> Path:
    path = folder / "a.png"
    if how == "directory":
        path.mkdir()
    elif how == "text":
        path.write_text("this is no picture")
    elif how == "empty":
        path.touch()
    elif how != "missing":
        large = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        kind = "JPEG" if how.endswith("jpeg") else "PNG"
        Image.fromarray(large).save(path, format=kind)
        content = path.read_bytes()
        path.write_bytes(content[:60] + b"garbage" + content[67:] if how == "corrupt png" else content[:300])
    return path


@pytest.mark.parametrize("how", ["missing", "directory", "text", "empty", "short png", "short jpeg", "corrupt png"])
def test_what_is_no_picture_is_named(tmp_path: Path, how: str) -> None:
    path = _damaged(tmp_path, how)

    with pytest.raises(InputError, match="cannot be read as a picture") as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_a_picture_too_large_to_trust_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", PIXELS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)

    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("place", ["no folder", "a file", "a folder of that name"])
def test_what_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken.png").mkdir()
    path = {
        "no folder": tmp_path / "nowhere" / "a.png",
        "a file": tmp_path / "file" / "a.png",
        "a folder of that name": tmp_path / "taken.png",
    }[place]

    with pytest.raises(InputError, match="cannot be written") as caught:
        write_image(path, PIXELS)
    assert str(path) in str(caught.value)
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "taken.png"}


def test_writing_leaves_nothing_but_the_picture(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", PIXELS)
    write_image(tmp_path / "a.png", PIXELS[:2])

    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert read_image(tmp_path / "a.png").shape == (2, 9, 3)


def test_pictures_of_a_folder_come_sorted(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.webp", "notes.txt", "d"):
        (tmp_path / name).touch()

    assert [path.name for path in find_images(tmp_path)] == ["a.jpg", "b.PNG", "c.webp"]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()

    with pytest.raises(InputError, match="holds no picture"):
        find_images(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match="is no folder"):
        find_images(tmp_path / name)
