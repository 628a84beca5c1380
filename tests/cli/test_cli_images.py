"""A file that takes images, through every command that takes a model."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Command
from tests.scenes import write_scenes
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import load
from u2net.runtime.images import read_image


@pytest.fixture(scope="module")
def model(run_u2net: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled weights at 96×96, exported by the command."""
    path = tmp_path_factory.mktemp("images") / "model.onnx"
    said = run_u2net("export", "--size", 96, "--io", "image", "-o", path)
    assert "in fp32, input images of any×any, masks in float32, outputs mask" in said.stdout
    return path


def test_info_says_what_goes_in(model: Path, run_u2net: Command) -> None:
    said = " ".join(run_u2net("info", model).stdout.split())

    assert "images of any×any, masks in float32" in said
    assert "pre- and postprocessing" in said


def test_run_writes_its_masks(model: Path, run_u2net: Command, pictures: Path, tmp_path: Path) -> None:
    said = run_u2net("run", model, pictures / "astronaut.png", "-o", tmp_path)

    assert said.returncode == 0
    with load(model) as session:
        mask = session(read_image(pictures / "astronaut.png"))
    written = np.asarray(Image.open(tmp_path / "astronaut.mask.png"))
    assert np.abs(written / 255 - mask).max() <= 0.5 / 255 + 1e-6


def test_verify_judges_whole_masks(model: Path, run_u2net: Command, pictures: Path) -> None:
    said = run_u2net("verify", BUNDLED_WEIGHTS, model, "--images", pictures)

    assert said.returncode == 0 and said.stdout.rstrip().endswith("passed")


def test_eval_scores_it(model: Path, run_u2net: Command, tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", 2, size=96)

    said = run_u2net("eval", model, tmp_path / "scenes")

    assert said.returncode == 0 and "max F" in said.stdout


def test_bench_names_what_it_can_time(model: Path, run_u2net: Command) -> None:
    said = run_u2net("bench", model)

    assert said.returncode == 2
    assert "takes images, and bench times networks on tensors; name the graph that it was made from" in said.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("--mask uint8", "--mask: only for a file that takes images; add --io image"),
        ("--source 1080x1920 --stretch", "--stretch, --source: only for a file that takes images; add --io image"),
        ("--no-stretch", "--no-stretch: only for a file that takes images; add --io image"),
        ("--io image --source dynamic", "--source is one size, HEIGHTxWIDTH; leave it out for images of any size"),
        ("--io image --source wide", "--source is a number or HEIGHTxWIDTH; got 'wide'"),
        ("--io image --preset rembg", "preset 'rembg' resizes with lanczos in uint8"),
        ("--io image --size dynamic", "export it with a fixed --size"),
        ("--io image --outputs all", "gives the mask alone; got outputs d0, d1"),
    ],
)
def test_what_cannot_be_exported_is_told_before_the_work(
    run_u2net: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, found: str
) -> None:
    monkeypatch.setattr("u2net.export.build.export_onnx", None)

    said = run_u2net("export", *words.split(), "-o", tmp_path / "model.onnx")

    assert said.returncode == 2
    assert found in said.stderr


def test_import_names_the_file_to_take_instead(model: Path, run_u2net: Command, tmp_path: Path) -> None:
    said = run_u2net("import", model, "-o", tmp_path / "weights.safetensors")

    assert said.returncode == 2
    assert "takes images; a checkpoint comes from a file of tensors" in said.stderr
