"""The command run in-process, and one build that the tests of the command share."""

import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from PIL import Image

from tests.benchmarks.worker_here import WorkerHere
from tests.conftest import TRACED
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.cli.main import main
from u2net.export import GraphStage

Command = Callable[..., CompletedProcess[str]]

SIDES = {"astronaut": (120, 150), "coffee": (100, 100)}
"""Height and width of the photographs that the command is tried on."""


def _run(*words: object) -> CompletedProcess[str]:
    arguments = ["u2net", *map(str, words)]
    out, err, status = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", arguments)
        try:
            main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def run_u2net() -> Command:
    """Run ``u2net`` with these words in this process; return status, stdout and stderr."""
    return _run


@pytest.fixture(scope="session")
def pictures(photographs: dict[str, npt.NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small photographs."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, (height, width) in SIDES.items():
        Image.fromarray(photographs[name]).resize((width, height)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def built(
    run_u2net: Command, pictures: Path, tmp_path_factory: pytest.TempPathFactory, export_once: Callable[..., GraphStage]
) -> tuple[Path, CompletedProcess[str]]:
    """The folder of a build of the bundled weights at 96×96, and what the command said."""
    folder = tmp_path_factory.mktemp("build") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TRACED, export_once)
        return folder, run_u2net("build", "--size", 96, "--rounds", 2, "--images", pictures, "-o", folder)


@pytest.fixture(scope="session")
def suite_run(
    run_u2net: Command, tmp_path_factory: pytest.TempPathFactory, export_once: Callable[..., GraphStage]
) -> tuple[Path, CompletedProcess[str]]:
    """The folder of a short run of the suite, named ``page``, in which rembg is missing; and what the command said."""
    folder = tmp_path_factory.mktemp("suite")
    contestants = ("--contestants", "onnxruntime-fp32,rembg")
    words = (*contestants, "--networks", "u2netp", "--batches", 1, "--rounds", 2, "--name", "page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("u2net.benchmarks.suite.options.SuiteOptions", partial(SuiteOptions, callers=(1, 2)))
        patch.setattr("u2net.benchmarks.suite.suite.PICTURE_SIZES", ((90, 120),))
        patch.setattr("u2net.benchmarks.suite.suite.SCENE_COUNT", 3)
        patch.setattr(TRACED, export_once)
        patch.setattr("u2net.benchmarks.suite.networks.make_plain_graph", lambda *_: None)  # nobody here opens it
        return folder, run_u2net("bench", "--suite", *words, "-o", folder, "--work", folder / "work")


@pytest.fixture(scope="session")
def built_onnx(built: tuple[Path, CompletedProcess[str]]) -> Path:
    """The bundled weights as FP32 ONNX of dynamic batch at 96×96."""
    return built[0] / "model.onnx"


@pytest.fixture
def quick_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmark in this process, on few pictures."""
    monkeypatch.setattr("u2net.benchmarks.suite.cells.Worker", WorkerHere)
    monkeypatch.setattr("u2net.benchmarks.measure.PICTURE_SIZE", (90, 120))
    monkeypatch.setattr("u2net.benchmarks.measure.SCENE_COUNT", 1)


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a machine without a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
