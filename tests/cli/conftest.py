"""The command run in-process, and one build that the tests of the command share."""

import json
import shutil
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
from tests.conftest import MakeOnce
from u2net.benchmarks.suite.limits import Ceilings
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.cli.main import main

Command = Callable[..., CompletedProcess[str]]
Run = tuple[Path, CompletedProcess[str]]
"""The folder that a command wrote, and what it said."""

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
def run_once(make_once: MakeOnce, run_u2net: Command) -> Callable[..., Run]:
    """Run ``u2net`` with ``-o`` a folder of this name, once for all processes of a run; return folder and result."""

    def run(name: str, *words: object) -> Run:
        def write(path: Path) -> None:
            result = run_u2net(*words, "-o", path.with_name("out"))
            path.write_text(json.dumps((result.args, result.returncode, result.stdout, result.stderr)))

        said = make_once(name, "said.json", write)
        return said.with_name("out"), CompletedProcess(*json.loads(said.read_text()))

    return run


@pytest.fixture(scope="session")
def built(run_once: Callable[..., Run], pictures: Path) -> Run:
    """The folder of a build of the bundled weights at 96×96, and what the command said."""
    return run_once("build", "build", "--size", 96, "--rounds", 2, "--images", pictures)


@pytest.fixture(scope="session")
def suite_run(run_once: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The folder of a short run of the suite, named ``page``, in which rembg is missing; and what the command said."""
    contestants = ("--contestants", "onnxruntime-fp32,rembg", "--networks", "u2netp", "--batches", 1)
    words = (*contestants, "--rounds", 2, "--threads", 1, "--name", "page", "--work", tmp_path_factory.mktemp("work"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("u2net.benchmarks.suite.options.SuiteOptions", partial(SuiteOptions, callers=(1, 2), size=160))
        patch.setattr("u2net.benchmarks.suite.inputs.PICTURE_SIZES", ((90, 120),))
        patch.setattr("u2net.benchmarks.suite.inputs.SCENE_COUNT", 3)
        patch.setattr("u2net.benchmarks.suite.networks.make_plain_graph", lambda *_: None)  # nobody here opens it
        patch.setattr("u2net.benchmarks.suite.suite._measure_ceilings", lambda _: {"fp32": Ceilings(1e11, 1e10)})
        return run_once("suite", "bench", "--suite", *words)


@pytest.fixture(scope="session")
def built_onnx(built: Run) -> Path:
    """The bundled weights as FP32 ONNX of dynamic batch at 96×96."""
    return built[0] / "model.onnx"


@pytest.fixture
def quick_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmark in this process, on few pictures."""
    monkeypatch.setattr("u2net.benchmarks.suite.cells.Worker", WorkerHere)
    monkeypatch.setattr("u2net.benchmarks.measure.PICTURE_SIZE", (90, 120))
    monkeypatch.setattr("u2net.benchmarks.measure.FIDELITY_SCENES", 1)


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a machine without a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def compiled(run_u2net: Command, built_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the FP16 graph, its engine and the engine's record."""
    folder = tmp_path_factory.mktemp("compiled")
    run_u2net("compile", shutil.copy(built_onnx.with_name("model.fp16.onnx"), folder), "--target", "sm_86")
    return folder


@pytest.fixture
def engine(compiled: Path, tmp_path: Path) -> Path:
    """A copy of the engine, with its graph and record beside it."""
    return shutil.copytree(compiled, tmp_path / "compiled") / "model.fp16.engine"
