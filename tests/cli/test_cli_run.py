from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from u2net.runtime import cut_out, load, read_image, to_grey

Command = Callable[..., CompletedProcess[str]]


def test_files_and_folders(run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path) -> None:
    Image.open(pictures / "coffee.png").convert("L").save(tmp_path / "grey.jpg")

    said = run_u2net("run", built_onnx, tmp_path / "grey.jpg", pictures, "-o", tmp_path / "out" / "deep")

    assert (said.returncode, said.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out" / "deep").iterdir()) == sorted(
        f"{name}.{kind}.png" for name in ("astronaut", "coffee", "grey") for kind in ("mask", "cutout")
    )
    assert [line.partition(" → ")[0] for line in said.stdout.splitlines()] == [
        str(path) for path in (tmp_path / "grey.jpg", pictures / "astronaut.png", pictures / "coffee.png")
    ]


def test_what_is_written_is_what_a_session_gives(
    run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path
) -> None:
    run_u2net("run", built_onnx, pictures / "coffee.png", "-o", tmp_path)

    image = read_image(pictures / "coffee.png")
    with load(built_onnx) as session:
        mask = session(image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "coffee.mask.png")), to_grey(mask))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "coffee.cutout.png")), cut_out(image, mask))


def test_a_preset_replaces_the_files_own(run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path) -> None:
    for preset in ("reference", "raw"):
        said = run_u2net("run", built_onnx, pictures / "coffee.png", "-o", tmp_path / preset, "--preset", preset)
        assert said.returncode == 0

    masks = [np.asarray(Image.open(tmp_path / name / "coffee.mask.png"), int) for name in ("reference", "raw")]
    assert np.abs(masks[0] - masks[1]).max() > 10


def test_a_file_named_twice_is_done_once(run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path) -> None:
    said = run_u2net("run", built_onnx, pictures / "coffee.png", pictures, "-o", tmp_path)

    assert said.returncode == 0
    assert [line.partition(" → ")[0] for line in said.stdout.splitlines()] == [
        str(pictures / name) for name in ("coffee.png", "astronaut.png")
    ]


def test_a_picture_is_not_overwritten(run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.mask.png"):
        (tmp_path / name).write_bytes((pictures / "coffee.png").read_bytes())

    said = run_u2net("run", built_onnx, tmp_path, "-o", tmp_path)

    assert said.returncode == 2
    assert "a.mask.png is one of the pictures and would be overwritten; name another folder" in said.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.mask.png"}
    assert (tmp_path / "a.mask.png").read_bytes() == (pictures / "coffee.png").read_bytes()


def test_what_is_no_picture_is_said_before_the_work(
    run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "z.png").write_text("no picture")

    said = run_u2net("run", built_onnx, pictures / "coffee.png", tmp_path / "z.png", "-o", tmp_path / "out")

    assert (said.returncode, said.stdout) == (2, "")
    assert "z.png cannot be read as a picture" in said.stderr


@pytest.mark.parametrize("name", ["a[1].png", "[bold]b.png", "[/c].png", "with spaces.png", ":cat:.png", "日本.png"])
def test_any_name_of_a_picture_is_printed_as_it_is(
    run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path, name: str
) -> None:
    source = tmp_path / name
    source.parent.mkdir(exist_ok=True)
    source.write_bytes((pictures / "coffee.png").read_bytes())

    said = run_u2net("run", built_onnx, source, "-o", tmp_path / "out")

    assert said.returncode == 0
    assert (
        said.stdout
        == f"{source} → {tmp_path / 'out' / source.stem}.mask.png, {tmp_path / 'out' / source.stem}.cutout.png\n"
    )
