import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from u2net.benchmarks.gpu import suite
from u2net.benchmarks.gpu.arrays import read_array
from u2net.benchmarks.gpu.hosts import Hosts
from u2net.benchmarks.gpu.suite import SuiteResult, find_marked, prepare_graphs, read_lines, read_protocol, run_suite
from u2net.runtime import load
from u2net.runtime.artifact import Artifact

MIXED = """
import pytest
pytestmark = pytest.mark.gpu
def test_passes(): pass
def test_fails(): assert 1 == 2, "the maps differ"
def test_is_skipped(): pytest.skip("no torch here")
@pytest.fixture
def broken(): raise RuntimeError("no engine")
def test_has_no_engine(broken): pass
"""

UNMARKED = "def test_needs_what_is_not_there(): import nowhere_to_be_found"

WriteTests = Callable[..., Path]


@pytest.fixture
def write_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteTests:
    """A folder of tests in the place of the project's; gives a work folder."""

    def write(**files: str) -> Path:
        (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["gpu: needs a GPU"]')
        for name, text in files.items():
            path = tmp_path / "tests" / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(suite, "ROOT", tmp_path)
        monkeypatch.setattr(suite, "TESTS", tmp_path / "tests")
        return tmp_path

    return write


def run(work: Path, python: str = sys.executable, seconds: float = 120) -> SuiteResult:
    return run_suite(python, "this Python", work, seconds)


def test_outcomes_come_back_with_their_messages(write_tests: WriteTests) -> None:
    result = run(write_tests(test_mixed=MIXED, test_unmarked=UNMARKED))

    assert (result.passed, result.failed, result.skipped, result.note) == (1, 2, 1, "")
    assert "test_fails: AssertionError: the maps differ" in result.problems[0]
    assert "no engine" in result.problems[1]
    assert result.reasons == ("no torch here",)


def test_only_files_with_the_mark_are_collected(write_tests: WriteTests) -> None:
    """What the others import may not be installed where the GPU is."""
    write_tests(test_mixed=MIXED, test_unmarked=UNMARKED)

    assert [path.name for path in find_marked(suite.TESTS)] == ["test_mixed.py"]


def test_a_process_that_dies_still_tells_what_it_had_done(write_tests: WriteTests) -> None:
    crash = "import os, signal\ndef test_zz_crashes(): os.kill(os.getpid(), signal.SIGSEGV)\ndef test_zzz(): pass\n"
    result = run(write_tests(test_mixed=MIXED + crash))

    assert (result.passed, result.skipped) == (1, 1)
    assert [problem for problem in result.problems if "test_zz_crashes" in problem]
    assert "status -11" in result.note


def test_without_pytest_the_report_says_so(write_tests: WriteTests, tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    result = run(write_tests(test_mixed=MIXED), str(bare))

    assert result == SuiteResult("this Python", note="not run: pytest is not installed")


def test_tests_that_take_too_long_are_ended(write_tests: WriteTests) -> None:
    slow = "import time, pytest\n@pytest.mark.gpu\ndef test_slow(): time.sleep(60)\n"

    assert run(write_tests(test_slow=slow), seconds=3).note == "not finished within 3 s"


def test_a_python_that_is_not_there_is_said(write_tests: WriteTests) -> None:
    assert run(write_tests(test_mixed=MIXED), "/nowhere/python").note.startswith("/nowhere/python cannot be started")


def test_without_tests_there_is_nothing_to_run(write_tests: WriteTests) -> None:
    assert run(write_tests(test_unmarked=UNMARKED)).note == "no test marked gpu is there"


def test_the_project_has_tests_marked_gpu() -> None:
    assert {path.name for path in find_marked(suite.TESTS)} >= {"test_engines_on_gpu.py"}


def test_a_protocol_is_counted() -> None:
    result = read_protocol(
        '<testsuites><testsuite><testcase classname="a" name="one"/>'
        '<testcase classname="a" name="two"><failure message="broken"/><error message="and after"/></testcase>'
        '<testcase classname="a" name="three"><skipped message="no GPU"/></testcase>'
        '<testcase classname="a" name="four"><skipped message="no GPU"/></testcase></testsuite></testsuites>',
        "here",
    )

    assert result == SuiteResult("here", 1, 1, 2, ("a.two: broken",), ("no GPU",))


def test_lines_of_a_dead_process_are_counted() -> None:
    text = (
        "tests/gpu/test_a.py::test_one PASSED                     [ 20%]\n"
        "tests/gpu/test_a.py::test_two[tensorrt-a b] FAILED       [ 40%]\n"
        "tests/gpu/test_a.py::test_three SKIPPED (no GPU)         [ 60%]\n"
        "tests/gpu/test_a.py::test_four[x] "
    )
    problems = (
        "tests/gpu/test_a.py::test_two[tensorrt-a b]: failed",
        "tests/gpu/test_a.py::test_four[x]: the process died in it",
    )

    assert read_lines(text, "here", "died") == SuiteResult("here", 1, 2, 1, problems, note="died")


def test_graphs_for_a_python_without_torch_are_what_the_engines_tests_read(tmp_path: Path, exported_fp16: Path) -> None:
    (tmp_path / "test-graphs").mkdir()
    shutil.copy(exported_fp16, tmp_path / "test-graphs")
    with Hosts({"files": sys.executable}, tmp_path) as hosts:
        folder, why = prepare_graphs(hosts, tmp_path)

    assert why == "" and folder is not None
    artifact = Artifact.from_json((folder / "artifact.json").read_text())
    assert (artifact.precision, artifact.opset, artifact.shape.batch) == ("fp16", 17, None)
    pictures, maps = (read_array(folder / f"{name}.npz") for name in ("input", "output"))
    with load(folder / "graph.onnx") as session:
        np.testing.assert_allclose(session.infer(pictures)["d0"], maps, atol=0.05)
    assert maps.min() < 0.1 and maps.max() > 0.9


def test_graphs_that_cannot_be_made_are_said(tmp_path: Path) -> None:
    with Hosts({"files": "/nowhere/python"}, tmp_path) as hosts:
        assert prepare_graphs(hosts, tmp_path)[1].startswith("export: /nowhere/python cannot be started")
