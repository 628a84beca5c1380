"""The whole check on a processor, and its command line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.gpu.conftest import FP16_SIDE
from u2net.benchmarks.gpu.__main__ import main, parse_arguments
from u2net.benchmarks.gpu.check import check_gpu
from u2net.benchmarks.gpu.discovery import ask_pythons, gpu_name
from u2net.benchmarks.gpu.hosts import TREE
from u2net.benchmarks.gpu.options import GpuOptions
from u2net.runtime import CheckpointError, DeviceError, InputError
from u2net.runtime.device import Device

DRY = ("--device", "cpu", "--networks", "u2netp", "--batches", "1,2", "--rounds", "2", "--minutes", "6", "--skip-tests")
CHOSEN = "eager-fp32,eager-fp32-exact,eager-fp16,stand-in"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("check")


@pytest.fixture(scope="module")
def found(folder: Path, exported_fp16: Path) -> Iterator[dict[str, Any]]:
    """What the command writes, at a size at which the maps span [0, 1]; engines' Python under a name of its own."""
    other = folder / "other-python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    (folder / "build/gpu-check").mkdir(parents=True)
    shutil.copy(exported_fp16, folder / f"build/gpu-check/u2netp-{FP16_SIDE}.fp16.onnx")
    words = (*DRY, "--size", str(FP16_SIDE), "--contestants", CHOSEN, "--tensorrt-python", str(other), "--name", "dry")
    done = subprocess.run(
        [sys.executable, "-P", str(TREE), "u2net.benchmarks.gpu", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "dry.json and dry.md are written" in done.stdout
    yield json.loads((folder / "docs/results/dry.json").read_text())


def test_there_is_a_row_for_everybody_at_every_batch(found: dict[str, Any]) -> None:
    assert [(row["key"], row["batch"]) for row in found["rows"]] == [
        (key, batch) for batch in (1, 2) for key in CHOSEN.split(",")
    ]
    assert found["finished"]


@pytest.mark.parametrize("key", ["eager-fp32", "eager-fp32-exact", "stand-in"])
def test_what_a_processor_can_run_has_figures(found: dict[str, Any], key: str) -> None:
    for row in (row for row in found["rows"] if row["key"] == key):
        assert row["error"] == ""
        assert row["wall"]["latency"]["median_ms"] > 0 and row["wall"]["rounds"] == 2
        assert row["wall"]["ratio"]["value"] > 0
        assert row["device"] is None and row["share"] is None and row["memory_mb"] is None
        assert [parity["pictures"] for parity in row["parity"]] == ["photographs", "scenes"]
        assert all(parity["iou"] > 0.99 and parity["mean"] < 1e-3 for parity in row["parity"])


def test_what_needs_a_gpu_is_a_row_with_its_error(found: dict[str, Any]) -> None:
    for row in (row for row in found["rows"] if row["key"] == "eager-fp16"):
        assert row["error"].startswith("opening: DeviceError: this needs a CUDA device")
        assert row["wall"] is None and row["parity"] == []


def test_no_target_is_judged_without_an_engine(found: dict[str, Any]) -> None:
    assert {target["verdict"] for target in found["targets"]} == {"not measured"}


def test_both_pythons_are_described(found: dict[str, Any]) -> None:
    assert list(found["pythons"]) == ["this Python", "the engines' Python"]
    assert all(facts["versions"]["numpy"] for facts in found["pythons"].values())


@pytest.mark.parametrize("name", ["dry.json", "dry.md"])
def test_the_files_name_no_folder_of_this_machine(found: dict[str, Any], folder: Path, name: str) -> None:
    del found
    text = (folder / "docs/results" / name).read_text()

    assert str(folder) not in text
    assert str(TREE.parents[2]) not in text


def test_the_page_is_of_a_dry_run(found: dict[str, Any], folder: Path) -> None:
    page = (folder / "docs/results/dry.md").read_text()

    assert page.startswith("# Dry run on a processor")
    assert found["pictures"] in page


def test_an_engine_that_cannot_run_here_is_a_row(tmp_path: Path) -> None:
    """Also with the time up before anything was opened: rows, no crash."""
    options = GpuOptions(
        device="cpu",
        networks=("u2netp",),
        batches=(1,),
        size=64,
        minutes=1e-3,
        tests=False,
        work=tmp_path / "work",
        output=tmp_path / "out",
    )
    report = check_gpu(options).report

    assert {bool(row.error) for row in report.rows} == {True}
    assert report.finished
    assert [path.suffix for path in sorted((tmp_path / "out").iterdir())] == [".json", ".md"]


def test_a_gpu_that_is_not_there_ends_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["--device", "cuda:99", "--skip-tests"]) == 2
    assert "cuda:99 was asked for" in capsys.readouterr().err


def test_weights_that_cannot_be_read_end_the_check(tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    options = GpuOptions(
        device="cpu",
        tests=False,
        checkpoints=(tmp_path / "bad.pth",),
        work=tmp_path / "work",
        output=tmp_path / "out",
    )

    with pytest.raises(CheckpointError, match=r"bad\.pth"):
        check_gpu(options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": ("u2netx",)}, "networks are distinct names of u2netp, u2net; got u2netx"),
        ({"networks": ()}, "networks"),
        ({"networks": ("u2net", "u2net")}, "networks"),
        ({"batches": (0,)}, "batch sizes"),
        ({"batches": (1, 1)}, "batch sizes"),
        ({"size": 100}, "multiple of 32; got 100"),
        ({"size": 0}, "multiple of 32"),
        ({"rounds": 1}, "at least 2 rounds"),
        ({"minutes": 0}, "minutes"),
        ({"train_minutes": -1}, "minutes"),
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"checkpoints": (Path("nowhere.pth"),)}, "nowhere.pth: there is no such file"),
        ({"tensorrt_python": "/nowhere/python"}, "/nowhere/python: there is no such program"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GpuOptions(**changes).check()


def test_the_command_line_gives_every_option(tmp_path: Path) -> None:
    words = "--device cuda:1 --networks u2net --batches 1,8 --size 64 --contestants a,b --rounds 5 --minutes 2"
    words += (
        " --open-minutes 1 --build-minutes 3 --train-minutes 0.5 --checkpoint a.pth --checkpoint b.pth --images pics"
    )
    words += (
        f" --tensorrt-python py --opt-level 2 --skip-tests --test-minutes 4 --work {tmp_path} --output out --name n"
    )

    assert parse_arguments(words.split()) == GpuOptions(
        device="cuda:1",
        networks=("u2net",),
        batches=(1, 8),
        size=64,
        contestants=("a", "b"),
        rounds=5,
        minutes=2,
        open_minutes=1,
        build_minutes=3,
        train_minutes=0.5,
        checkpoints=(Path("a.pth"), Path("b.pth")),
        images=Path("pics"),
        tensorrt_python="py",
        opt_level=2,
        tests=False,
        test_minutes=4,
        work=tmp_path,
        output=Path("out"),
        name="n",
    )
    assert parse_arguments([]) == GpuOptions()


def test_a_python_that_cannot_be_asked_is_told_apart_from_one_without_tensorrt(tmp_path: Path) -> None:
    facts, found = ask_pythons({"this": sys.executable, "none": "/nowhere/python"}, tmp_path)

    assert "cannot be started" in facts["none"]["error"]
    assert {each.flavour for each in found} == set(facts["this"]["flavours"])
    assert {each.python for each in found} <= {sys.executable}


def test_without_a_gpu_its_name_is_not_asked_for() -> None:
    assert gpu_name(Device("cpu")) is None
    with pytest.raises(DeviceError, match="cuda:99"):
        gpu_name(Device("cuda", 99))
