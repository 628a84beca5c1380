import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2net.runtime import InputError, Session, load, read_image, to_grey, write_image
from u2net.runtime.pictures import PictureFiles, plan_pictures, write_pictures

PIXELS = np.random.default_rng(0).integers(1, 256, (20, 30, 4), dtype=np.uint8)


@pytest.fixture
def tiny(tiny_onnx: Callable[..., Path]) -> Iterator[Session]:
    """A network of one convolution, without stretching: its masks are neither 0 nor 1."""
    with load(tiny_onnx(), preset="raw", size=(32, 32)) as session:
        yield session


def write_some(folder: Path, *file_names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name in file_names:
        Image.fromarray(PIXELS[:, :, :3]).save(folder / name)
    return [folder / name for name in file_names]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_alpha_of_a_cut_out_is_the_mask_times_the_pictures_own(tiny: Session, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", PIXELS)

    (done,) = write_pictures(tiny, [tmp_path / "a.png"], tmp_path)

    assert isinstance(done, PictureFiles)
    mask = tiny(PIXELS)
    assert 0 < mask.min() < mask.max() < 1
    np.testing.assert_array_equal(np.asarray(Image.open(done.mask)), to_grey(mask))
    cutout = read_image(done.cutout)
    np.testing.assert_array_equal(cutout[:, :, :3], PIXELS[:, :, :3])
    np.testing.assert_array_equal(cutout[:, :, 3], to_grey(np.asarray(mask * PIXELS[:, :, 3] / 255, np.float32)))


def test_bad_pictures_do_not_stop_the_others(tiny: Session, tmp_path: Path) -> None:
    write_some(tmp_path / "in", "a.png", "d.png")
    (tmp_path / "in" / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    Image.new("L", (40, 40)).save(tmp_path / "in" / "c.png")
    (tmp_path / "in" / "e.heic").write_bytes(b"\0\0\0\x18ftypheic")

    a, b, c, d, e = write_pictures(tiny, [tmp_path / "in"], tmp_path / "out", megapixels=0.001)

    assert "b.jpg cannot be read as a picture" in str(b)
    assert "c.png cannot be read as a picture: it has 0.0 million pixels; the limit, megapixels, is 0.001" in str(c)
    assert "e.heic cannot be read as a picture: its format is not known" in str(e)
    for done, name in ((a, "a.png"), (d, "d.png")):
        assert isinstance(done, PictureFiles) and done.source == tmp_path / "in" / name
    assert names(tmp_path / "out") == ["a.cutout.png", "a.mask.png", "d.cutout.png", "d.mask.png"]


def test_what_is_no_file_and_a_name_in_the_way_do_not_stop_the_others(tiny: Session, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_some(folder, "a.png", "b.png")
    (folder / "circle.png").symlink_to("circle.png")
    os.mkfifo(folder / "pipe.png")
    (tmp_path / "out" / "a.mask.png").mkdir(parents=True)

    a, b, circle, pipe = write_pictures(tiny, [folder], tmp_path / "out")

    assert "a.mask.png cannot be written" in str(a)
    assert isinstance(b, PictureFiles)
    assert "circle.png cannot be read as a picture" in str(circle)
    assert "pipe.png cannot be read as a picture: it is not a file" in str(pipe)


def test_an_animation_that_is_cut_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(PIXELS[:, :, index]) for index in range(3)]
    frames[0].save(tmp_path / "whole.gif", save_all=True, append_images=frames[1:])
    content, refused = (tmp_path / "whole.gif").read_bytes(), 0
    for end in range(0, len(content), 7):
        try:
            read_image(BytesIO(content[:end]))
        except InputError:
            refused += 1
    assert refused


def test_a_picture_on_which_the_network_overflows_does_not_stop_the_others(
    tiny_onnx: Callable[..., Path], tmp_path: Path
) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "b.png")
    with load(tiny_onnx(last="Log"), preset="raw", size=(32, 32)) as session:  # the logarithm of 0 is infinite
        black, red = write_pictures(session, [tmp_path], tmp_path / "out")

    assert "a.png has no mask: the network gave NaN or Inf" in str(black)
    assert isinstance(red, PictureFiles)


def test_pictures_that_share_a_stem_get_names_of_their_own(tmp_path: Path) -> None:
    plan = plan_pictures(write_some(tmp_path, "a.jpg", "a.png", "b.jpg"), tmp_path / "out")

    assert [(files.mask.name, files.cutout.name) for files in plan] == [
        ("a.jpg.mask.png", "a.jpg.cutout.png"),
        ("a.png.mask.png", "a.png.cutout.png"),
        ("b.mask.png", "b.cutout.png"),
    ]


def test_two_pictures_of_one_file_name_are_refused(tmp_path: Path) -> None:
    places = [*write_some(tmp_path / "x", "a.png"), *write_some(tmp_path / "y", "a.png")]

    with pytest.raises(InputError, match=r"x/a\.png and .*y/a\.png would share a name; give each its own folder"):
        plan_pictures(places, tmp_path / "out")


def test_a_picture_named_twice_is_taken_once(tmp_path: Path) -> None:
    (path,) = write_some(tmp_path, "a.png")
    (tmp_path / "link.png").symlink_to(path)

    assert [files.source for files in plan_pictures([path, tmp_path, path], tmp_path / "out")] == [path]


def test_a_second_run_into_the_pictures_own_folder_makes_no_masks_of_masks(tiny: Session, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    pictures = write_some(folder, "a.png", "b.jpg")
    for _ in range(2):
        for places in ([folder], sorted(folder.iterdir())):
            done = list(write_pictures(tiny, places, folder))
            assert [each.source for each in done if isinstance(each, PictureFiles)] == pictures
    assert names(folder) == ["a.cutout.png", "a.mask.png", "a.png", "b.cutout.png", "b.jpg", "b.mask.png"]
    with pytest.raises(InputError, match=r"nothing to do: files named \*\.mask\.png and"):
        plan_pictures([folder / "a.mask.png"], folder)
