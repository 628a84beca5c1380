"""Covers benchmarks/gpu: the command line of ``make gpu-check``, and the engines' tests in another Python."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from u2net.benchmarks.gpu import __main__ as gpu_check
from u2net.benchmarks.gpu.__main__ import main, parse_arguments
from u2net.benchmarks.gpu.engine_tests import run_engine_tests
from u2net.benchmarks.machine import describe_machine
from u2net.benchmarks.noise import Noise
from u2net.benchmarks.suite.contestants import ENGINES, TensorRT, list_contestants
from u2net.benchmarks.suite.networks import find_network
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.suite import SuiteReport
from u2net.benchmarks.suite.workers import TREE
from u2net.runtime.device import CPU, CUDA, Device

EVERY_OPTION = (
    "--device cuda:1 --networks u2net --batches 1,32 --size 64 --contestants eager-fp32,tensorrt-8.6.1 --rounds 5 "
    "--minutes 2 --build-minutes 3 --checkpoint a.pth --checkpoint b.pth --images pics --tensorrt-python py "
    "--opt-level 2 --skip-tests --test-minutes 4 --work work --output out --name n"
)


def test_every_option_is_read() -> None:
    found = parse_arguments(EVERY_OPTION.split())

    assert (found.skip_tests, found.test_minutes, found.output, found.name) == (True, 4, Path("out"), "n")
    assert found.options == SuiteOptions(
        device=Device("cuda", 1),
        networks=("u2net",),
        batches=(1, 32),
        size=64,
        contestants=("eager-fp32", "tensorrt-8.6.1"),
        rounds=5,
        minutes=2,
        build_minutes=3,
        opt_level=2,
        checkpoints=(Path("a.pth"), Path("b.pth")),
        images=Path("pics"),
        pythons={"tensorrt": "py"},
        work=Path("work"),
    )


def test_without_options_everything_is_measured_on_the_first_gpu() -> None:
    found = parse_arguments([])

    assert found.options.device == CUDA
    assert (found.options.contestants, found.skip_tests, found.options.pythons) == ((), False, {})


def test_the_keys_of_contestants_stay(tmp_path: Path) -> None:
    """Scripts on GPU machines name them, and the engines' files."""
    keys = (
        "eager-fp32",
        "eager-fp32-exact",
        "eager-fp16",
        "eager-fp16-graph",
        "onnxruntime",
        "tensorrt-8.6.1",
        "tensorrt-8.6.1-graph",
    )
    found = list_contestants(CUDA, [TensorRT("tensorrt", "8.6.1", ENGINES)], keys)
    network = find_network("u2netp", SuiteOptions(work=tmp_path))

    assert {each.key for each in found} == set(keys)
    files = {network.path(each.source, 32) for each in found if each.flavour}
    assert files == {tmp_path / "u2netp-320.tensorrt-8.6.1.engine"}


def test_it_runs_from_a_bare_tree_without_typer(tmp_path: Path) -> None:
    """As on a machine on which nothing of ours is installed; without a GPU it says so."""
    for name in ("typer", "rich"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not installed')")
    words = ("--device", "cuda:99", "--skip-tests", "--work", str(tmp_path / "work"))
    done = subprocess.run(
        [sys.executable, "-P", str(TREE), "u2net.benchmarks.gpu", *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cuda:99 was asked for")


def fake_python(folder: Path, body: str) -> str:
    """A Python that does something else."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_the_engines_tests_get_their_graphs(tmp_path: Path) -> None:
    """This Python has no GPU: pytest skips all, and the graphs are there for another."""
    outcome, passed = run_engine_tests(sys.executable, tmp_path, 120)

    assert passed and " skipped in " in outcome
    graphs = tmp_path / "test-graphs"
    with np.load(graphs / "input.npz") as pictures, np.load(graphs / "output.npz") as maps:
        assert pictures["array"].shape[1:] == (3, *maps["array"].shape[2:])
        assert maps["array"].min() < 0.1 and maps["array"].max() > 0.9, "maps near 0.5 would look like anything"
    assert json.loads((graphs / "graph.json").read_text(encoding="utf-8"))["precision"] == "fp16"
    assert (graphs / "graph.onnx").is_file()


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("echo '=== 2 failed, 3 passed in 9.1s ==='; exit 1", "The engines' tests: 2 failed, 3 passed in 9.1s"),
        ("exit 139", "The engines' tests: no words"),
        ("sleep 60", "The engines' tests did not finish within 1 s"),
    ],
)
def test_what_becomes_of_the_engines_tests_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, outcome: str
) -> None:
    python = fake_python(tmp_path, body)
    monkeypatch.setattr(sys, "executable", "true")  # exports no graphs

    told, passed = run_engine_tests(python, tmp_path, 1)

    assert told.startswith(outcome) and not passed


@pytest.mark.parametrize(("passed", "status"), [(True, 0), (False, 1)])
def test_the_report_tells_of_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: bool, status: int
) -> None:
    asked: list[object] = []

    def run_suite(options: SuiteOptions, _say: object, known: object) -> None:
        asked.append(options)
        assert callable(known)
        known(SuiteReport(describe_machine(CPU), options, "no pictures", Noise(0.0, None), {}, {}, (), ("a note",)))

    def run_engine_tests(*given: object) -> tuple[str, bool]:
        asked.append(given)
        return "all skipped", passed

    monkeypatch.setattr(gpu_check, "run_engine_tests", run_engine_tests)
    monkeypatch.setattr(gpu_check, "run_suite", run_suite)
    words = f"--device cpu --batches 1 --work {tmp_path / 'w'} --output {tmp_path} --name n".split()

    assert main([*words, "--tensorrt-python", sys.executable, "--test-minutes", "0.5"]) == status
    assert asked[0] == (sys.executable, tmp_path / "w", 30)
    assert json.loads((tmp_path / "n.json").read_text(encoding="utf-8"))["notes"] == ["all skipped", "a note"]
    assert "- all skipped\n" in (tmp_path / "n.md").read_text(encoding="utf-8")


def test_a_mistake_is_told_in_its_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--networks", "vgg", "--work", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "networks are u2net, u2netp; got vgg\n"
