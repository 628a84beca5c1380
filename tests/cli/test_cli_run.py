from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Command
from u2net.runtime import cut_out, images, load, read_image, to_grey


def test_files_and_folders_are_taken(run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path) -> None:
    Image.open(pictures / "coffee.png").convert("L").save(tmp_path / "grey.jpg")

    said = run_u2net("run", built_onnx, tmp_path / "grey.jpg", pictures, "-o", tmp_path / "out" / "deep")

    assert (said.returncode, said.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out" / "deep").iterdir()) == sorted(
        f"{name}.{kind}.png" for name in ("astronaut", "coffee", "grey") for kind in ("mask", "cutout")
    )
    assert [line.partition(" → ")[0] for line in said.stdout.splitlines()] == [
        str(path) for path in (tmp_path / "grey.jpg", pictures / "astronaut.png", pictures / "coffee.png")
    ]


def test_the_files_hold_what_a_session_returns(
    run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path
) -> None:
    run_u2net("run", built_onnx, pictures / "coffee.png", "-o", tmp_path)

    image = read_image(pictures / "coffee.png")
    with load(built_onnx) as session:
        mask = session(image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "coffee.mask.png")), to_grey(mask))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "coffee.cutout.png")), cut_out(image, mask))


def test_another_backend_is_named_and_gives_the_same_masks(
    run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path
) -> None:
    masks = []
    for backend in ("onnxruntime", "openvino"):
        said = run_u2net("run", built_onnx, pictures / "coffee.png", "-o", tmp_path / backend, "--backend", backend)
        assert said.stdout.startswith(f"{built_onnx} runs in {backend} ")
        masks.append(np.asarray(Image.open(tmp_path / backend / "coffee.mask.png"), np.int16))

    assert np.abs(masks[0] - masks[1]).max() <= 1
    assert run_u2net("run", built_onnx, pictures, "--backend", "tflite").returncode == 2


def test_a_preset_replaces_the_files_own(run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path) -> None:
    for preset in ("reference", "raw"):
        said = run_u2net("run", built_onnx, pictures / "coffee.png", "-o", tmp_path / preset, "--preset", preset)
        assert said.returncode == 0

    masks = [np.asarray(Image.open(tmp_path / name / "coffee.mask.png"), int) for name in ("reference", "raw")]
    assert np.abs(masks[0] - masks[1]).max() > 10


def test_bad_pictures_are_listed_at_the_end_with_status_1(run_u2net: Command, built_onnx: Path, tmp_path: Path) -> None:
    frames = [Image.new("L", (9, 9), shade) for shade in (0, 200)]
    frames[0].save(tmp_path / "b.gif", save_all=True, append_images=frames[1:])
    Image.new("L", (1100, 1000)).save(tmp_path / "c.png")
    (tmp_path / "video").write_bytes(b"\0\0\0\x20ftypisom")

    said = run_u2net("run", built_onnx, tmp_path / "video", tmp_path, "-o", tmp_path / "out", "--megapixels", 1)

    assert said.returncode == 1
    assert said.stdout.startswith(f"{tmp_path / 'b.gif'} (the first of several frames) → ")
    assert said.stderr.splitlines() == [
        "2 of 3 skipped:",
        f"{tmp_path / 'video'} cannot be read as a picture: its format is not known; u2net takes photographs that "
        "Pillow opens (JPEG, PNG, WebP, TIFF …), not videos, URLs or standard input",
        f"{tmp_path / 'c.png'} cannot be read as a picture: it has 1.1 million pixels; the limit, megapixels, is 1",
    ]


def test_a_picture_above_the_default_limit_does_not_stop_the_others(
    run_u2net: Command, built_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default is lowered here, so that the picture can be small."""
    monkeypatch.setattr(images._opened.__wrapped__, "__defaults__", (0.001,))  # type: ignore[attr-defined]
    for name in ("a.png", "b.png"):
        Image.new("L", (110, 100)).save(tmp_path / name)

    said = run_u2net("run", built_onnx, tmp_path, "-o", tmp_path / "out", "--megapixels", 1)

    assert (said.returncode, said.stderr, said.stdout.count("\n")) == (0, "", 2)


@pytest.mark.parametrize("name", ["nowhere.png", "-", "https://example.org/cat.jpg"])
def test_a_missing_file_is_told_before_the_work(
    run_u2net: Command, built_onnx: Path, pictures: Path, name: str
) -> None:
    said = run_u2net("run", built_onnx, pictures, name)

    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1)
    assert "there is no such file; u2net takes photographs that Pillow opens (JPEG, PNG" in said.stderr


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
