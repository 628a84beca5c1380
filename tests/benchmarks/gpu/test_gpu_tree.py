import subprocess
import sys
from pathlib import Path

import pytest

from u2net.benchmarks.suite.workers import TREE

ROOT = Path(__file__).parents[3]


def python(*words: str) -> "subprocess.CompletedProcess[str]":
    """A Python in which nothing is installed."""
    return subprocess.run([sys.executable, "-S", "-P", *words], capture_output=True, text=True, check=False, timeout=60)


def test_a_module_of_the_tree_runs_where_nothing_is_installed() -> None:
    assert "No module named 'u2net'" in python("-c", "import u2net").stderr

    # The ``__init__`` of u2net.benchmarks would import torch, which is not there.
    done = python(str(TREE), "u2net.benchmarks.gpu.tree", "platform")

    assert (done.returncode, done.stderr) == (0, "")


def test_a_foreign_module_runs_with_the_tree_as_the_package(tmp_path: Path) -> None:
    (tmp_path / "foreign.py").write_text(
        "import sys, u2net.runtime.errors as errors\nprint(__name__, sys.argv[1:], errors.__file__)"
    )
    done = subprocess.run(
        [sys.executable, str(TREE), "foreign", "--size", "64"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONPATH": str(tmp_path)},
    )

    assert done.stdout == f"__main__ ['--size', '64'] {ROOT / 'runtime' / 'errors.py'}\n"


@pytest.mark.parametrize("name", ["u2net.nowhere", "nowhere"])
def test_a_module_that_is_not_there_is_said(name: str) -> None:
    done = python(str(TREE), name)

    assert done.returncode != 0
    assert f"No module named {name}" in done.stderr
