import struct
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageCms, ImageOps

from u2net.runtime.errors import InputError
from u2net.runtime.images import find_images, open_picture, read_first_frame, read_image, read_size, write_image

ORIENTATION = 0x0112
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 4), dtype=np.uint8)


@pytest.mark.parametrize("bands", [3, 4])
def test_a_written_picture_is_read_back_with_its_alpha(tmp_path: Path, bands: int) -> None:
    for image in (PIXELS[:, :, :bands], Image.fromarray(PIXELS[:, :, :bands])):
        write_image(tmp_path / "a.png", image)

        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS[:, :, :bands])


def test_grey_is_written_as_grey_and_read_as_rgb(tmp_path: Path) -> None:
    write_image(str(tmp_path / "a.png"), PIXELS[:, :, 0])

    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "L"
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS[:, :, :1].repeat(3, axis=2))
    np.testing.assert_array_equal(np.asarray(open_picture(tmp_path / "a.png", "L")), PIXELS[:, :, 0])


@pytest.mark.parametrize(("mode", "clear", "opaque"), [("P", 0, 1), ("L", 7, 9), ("RGB", (7, 7, 7), (9, 9, 9))])
def test_a_transparent_colour_becomes_alpha(
    tmp_path: Path, mode: str, clear: int | tuple[int, ...], opaque: int | tuple[int, ...]
) -> None:
    picture = Image.new(mode, (2, 1), opaque)
    picture.putpixel((0, 0), clear)
    picture.save(tmp_path / "a.png", transparency=clear)

    assert read_image(tmp_path / "a.png")[0, :, 3].tolist() == [0, 255]


def profile_with_red_and_blue_swapped() -> bytes:
    """An ICC profile that shows pure red as blue."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"----").replace(b"bXYZ", b"rXYZ").replace(b"----", b"bXYZ")


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "png"), ("RGBA", "png"), ("P", "png"), ("RGB", "tif"), ("RGB", "webp")]
)
def test_colours_are_converted_by_the_profile(tmp_path: Path, mode: str, suffix: str) -> None:
    red = Image.new("RGBA", (3, 2), (255, 0, 0, 90)).convert(mode)
    red.save(tmp_path / f"a.{suffix}", icc_profile=profile_with_red_and_blue_swapped(), lossless=True)

    pixels = read_image(tmp_path / f"a.{suffix}")

    np.testing.assert_allclose(pixels[0, 0, :3], (0, 0, 255), atol=2)
    assert pixels.shape[2] == 3 or (pixels[:, :, 3] == 90).all()


@pytest.mark.parametrize(("mode", "profile"), [("RGB", b"no profile"), ("L", None), ("CMYK", None)])
def test_a_damaged_profile_and_one_of_another_colour_space_change_nothing(
    tmp_path: Path, mode: str, profile: bytes | None
) -> None:
    picture = Image.fromarray(PIXELS[:, :, :3]).convert(mode)
    picture.save(tmp_path / "a.tif")
    picture.save(tmp_path / "b.tif", icc_profile=profile or profile_with_red_and_blue_swapped())

    np.testing.assert_array_equal(read_image(tmp_path / "b.tif"), read_image(tmp_path / "a.tif"))


def _save_with_exif(path: Path, *entries: tuple[int, int, int, bytes]) -> None:
    """Save a JPEG with these EXIF tags: number, type, count, and four bytes of value, valid or not."""
    body = b"".join(struct.pack("<HHI4s", *entry) for entry in sorted(entries))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)
    Image.fromarray(PIXELS[:, :, :3]).save(path, quality=100, subsampling=0, exif=exif)


SHORT, ASCII, LONG = 3, 2, 4
TURNED = (ORIENTATION, SHORT, 1, struct.pack("<HH", 6, 0))


@pytest.mark.parametrize(
    "odd",
    [(259, LONG, 1, struct.pack("<I", 70000)), (282, ASCII, 4, b"abc\0"), (256, ASCII, 2, b"9\0\0\0")],
    ids=["compression too large", "resolution as text", "width as text"],
)
def test_a_damaged_tag_beside_the_orientation_is_ignored(tmp_path: Path, odd: tuple[int, int, int, bytes]) -> None:
    _save_with_exif(tmp_path / "a.jpg", TURNED, odd)

    assert read_image(tmp_path / "a.jpg").shape == (9, 6, 3)
    assert read_size(tmp_path / "a.jpg") == (6, 9)


@pytest.mark.parametrize(
    "entry",
    [(ORIENTATION, ASCII, 2, b"6\0\0\0"), (ORIENTATION, 7, 1, b"\6\0\0\0"), (ORIENTATION, SHORT, 1, b"\t\0\0\0")],
    ids=["as text", "of unknown type", "nine"],
)
def test_an_invalid_orientation_turns_nothing(tmp_path: Path, entry: tuple[int, int, int, bytes]) -> None:
    _save_with_exif(tmp_path / "a.jpg", entry)

    assert read_image(tmp_path / "a.jpg").shape == (6, 9, 3)
    assert read_size(tmp_path / "a.jpg") == (9, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bands", [1, 3])
def test_each_orientation_is_turned_as_pillow_does(tmp_path: Path, orientation: int, bands: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(PIXELS[:, :, :bands].squeeze())
    for suffix in ("png", "tif"):
        stored.save(tmp_path / f"a.{suffix}", exif=exif)

    with Image.open(tmp_path / "a.png") as picture:
        wanted = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_image(path), wanted)
        assert read_size(path) == (wanted.shape[1], wanted.shape[0])


def test_a_stream_and_bytes_are_read_like_a_file() -> None:
    stream = BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")

    np.testing.assert_array_equal(read_image(stream), PIXELS)
    np.testing.assert_array_equal(read_image(stream.getvalue()), PIXELS)
    with pytest.raises(InputError, match="the stream cannot be read as a picture"):
        read_image(BytesIO(b"no picture"))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_of_32_bits_are_refused_not_clipped(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.linspace(0, 1000, 12).reshape(3, 4).astype(dtype)).save(tmp_path / "a.tif")

    with pytest.raises(InputError, match=r"a\.tif cannot be read as a picture: its values have 32 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("white", [255, 1023, 65535])
def test_grey_of_any_depth_is_scaled_by_its_white(tmp_path: Path, white: int) -> None:
    size = 1 if white < 256 else 2
    values = b"".join(round(part * white).to_bytes(size, "big") for part in (0, 0.5, 1))
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 %d\n" % white + values)

    assert read_image(tmp_path / "a.pgm")[0, :, 0].tolist() == pytest.approx([0, 128, 255], abs=1)


@pytest.mark.parametrize("shape", [(4, 4, 5), (4,)])
def test_an_array_of_another_shape_is_not_written(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="a picture is uint8"):
        write_image(tmp_path / "a.png", np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 25700, 65535]], np.uint16)).save(tmp_path / "a.png")

    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 100, 255]


WHOLE = BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(WHOLE, "PNG")
PNG = WHOLE.getvalue()


@pytest.mark.parametrize(
    "content",
    [None, b"this is no picture", b"", PNG[:300], PNG[:60] + b"garbage" + PNG[67:]],
    ids=["missing", "text", "empty", "cut off", "corrupt"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)

    with pytest.raises(InputError, match=r"/a\.png cannot be read as a picture"):
        read_image(tmp_path / "a.png")


def test_postscript_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow lets Ghostscript run it, whatever the file is called."""
    calls: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **_options: calls.append(args))
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path, "EPS")

    for read in (read_image, read_size):
        with pytest.raises(InputError, match="PostScript"):
            read(path)
    assert calls == []


def test_the_largest_picture_is_the_callers_choice_and_pillows_limit_does_not_apply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.png", np.zeros((100, 200), np.uint8))
    for pillows in (100, 15_000):  # the first makes Pillow refuse the picture, the second warn
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
        with warnings.catch_warnings(action="error"):
            assert read_image(tmp_path / "a.png", megapixels=0.02).shape == (100, 200, 3)
            with pytest.raises(InputError, match=r"0\.0 million pixels; the limit, megapixels, is 0\.0199"):
                read_image(tmp_path / "a.png", megapixels=0.0199)
        assert pillows == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(("frames", "kind"), [(1, "GIF"), (2, "GIF"), (2, "TIFF"), (2, "WEBP"), (2, "MPO")])
def test_the_first_of_several_frames_is_read(tmp_path: Path, frames: int, kind: str) -> None:
    several = [Image.new("RGB", (4, 3), (shade, shade, shade)) for shade in (200, 50)[:frames]]
    several[0].save(tmp_path / "a", kind, save_all=True, append_images=several[1:])

    np.testing.assert_allclose(read_image(tmp_path / "a"), 200, atol=3)
    assert read_first_frame(tmp_path / "a")[1] is (frames == 2 and kind != "MPO")  # phones keep previews in an MPO


@pytest.mark.parametrize("name", ["nowhere/a.png", "file/a.png", "taken.png"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken.png").mkdir()

    with pytest.raises(InputError, match=f"{tmp_path / name} cannot be written"):
        write_image(tmp_path / name, PIXELS)
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "taken.png"}


def test_pictures_of_a_folder_come_sorted_without_masks_and_cut_outs(tmp_path: Path) -> None:
    pictures = ["a.jpg", "b.PNG", "c.webp", "d.tiff"]
    for name in [*reversed(pictures), "notes.txt", "g", "a.mask.png", "A.CUTOUT.PNG", "._a.jpg"]:
        (tmp_path / name).touch()

    assert [path.name for path in find_images(tmp_path)] == pictures


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "is not a folder"),
        ("notes.txt", "is not a folder"),
        (".", "holds no picture .*; subfolders, masks and cut-outs do not"),
    ],
)
def test_a_place_without_pictures_is_refused(tmp_path: Path, name: str, message: str) -> None:
    for file_name in ("notes.txt", "a.mask.png"):
        (tmp_path / file_name).touch()

    with pytest.raises(InputError, match=message):
        find_images(tmp_path / name)
