from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2net.runtime.errors import InputError
from u2net.runtime.images import find_images, read_image, write_image

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
