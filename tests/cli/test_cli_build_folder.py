"""The folder of a build is replaced as a whole; covers ``benchmarks/deployment.py``."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Run
from u2net.benchmarks.deployment import STAGING
from u2net.runtime.files import hash_file, locked_folder

WORDS = ("build", "--size", 64, "--rounds", 2)


@pytest.fixture
def folder(built: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of an earlier build, with the user's own files beside it; the next build is quick."""
    monkeypatch.setattr("u2net.export.calibration.CALIBRATION_SCENES", 1)
    shutil.copytree(built[0], tmp_path / "out")
    for name in ("notes.txt", "pictures/holiday.png", "pictures/mine.mask.png"):
        (tmp_path / "out" / name).write_text("mine")
    return tmp_path / "out"


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("quick_bench")
def test_what_a_build_does_not_make_again_is_removed_and_foreign_files_stay(run_u2net: Command, folder: Path) -> None:
    (folder / f"{STAGING}dead").mkdir()  # a build that was killed left it

    said = run_u2net(*WORDS, "--no-engine", "-o", folder)

    assert said.returncode == 0, said.stderr
    assert not list(folder.glob(f"{STAGING}*"))
    assert names(folder) == {
        *("model.onnx", "model.fp16.onnx", "report.json", "report.md", "report.html"),
        *("notes.txt", "pictures/holiday.png", "pictures/mine.mask.png"),
    }
    report = (folder / "report.json").read_text(encoding="utf-8")
    assert STAGING not in report
    assert json.loads(report)["bench"]["rows"][1]["file"] == str(folder / "model.onnx")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError("the disk is full")])
def test_a_build_that_is_interrupted_changes_nothing(
    run_u2net: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    before = {name: hash_file(folder / name) for name in names(folder)}

    def interrupt(_checkpoint: object, staging: Path, *_arguments: object) -> None:
        shutil.copy(folder / "model.fp16.onnx", staging / "model.onnx")
        raise stop

    monkeypatch.setattr("u2net.benchmarks.deployment.build_artifacts", interrupt)
    said = run_u2net(*WORDS, "--no-engine", "-o", folder)

    assert said.returncode in (2, 130)
    assert {name: hash_file(folder / name) for name in names(folder)} == before


def test_a_second_build_into_a_folder_is_refused_in_one_line(run_u2net: Command, folder: Path) -> None:
    with locked_folder(folder):
        said = run_u2net(*WORDS, "-o", folder)

    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert str(folder) in said.stderr


@pytest.mark.parametrize("name", ["model.fp16.onnx", "pictures"])
def test_a_name_in_the_way_is_told_before_the_work(run_u2net: Command, folder: Path, name: str) -> None:
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text("") if name == "pictures" else (folder / name).mkdir()
    before = names(folder)

    said = run_u2net(*WORDS, "-o", folder)

    assert said.returncode == 2
    assert str(folder / name) in said.stderr
    assert names(folder) == before
