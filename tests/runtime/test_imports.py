"""What the runtime pulls in, seen from a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "onnx", "onnxscript", "onnx_ir", "lightning_fabric", "u2net.model", "u2net.export")

FIRST_MASK = """
import sys
import numpy as np
import u2net.runtime as u2
with u2.load(sys.argv[1], backend=(sys.argv[2:] or [None])[0]) as session:
    mask = session(np.zeros((40, 50, 3), np.uint8))
assert mask.shape == (40, 50)
print("\\n".join(sys.modules))
"""


def modules_after(program: str, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def loaded(small_onnx: Path) -> set[str]:
    """Modules in memory after import, load and first mask."""
    return modules_after(FIRST_MASK, str(small_onnx))


@pytest.mark.parametrize("module", HEAVY)
def test_a_first_mask_needs_no(loaded: set[str], module: str) -> None:
    assert "onnxruntime" in loaded
    assert module not in loaded


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_nothing_is_reported_to_microsoft_and_google(small_onnx: Path, tmp_path: Path, backend: str) -> None:
    """Both libraries keep what they tell, or whom they tell it of, in the home folder."""
    silent = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    env = {name: value for name, value in os.environ.items() if name not in silent} | {"HOME": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", FIRST_MASK, str(small_onnx), backend], env=env, capture_output=True, check=True
    )

    assert list(tmp_path.iterdir()) == []


def test_importing_the_runtime_loads_no_backend() -> None:
    loaded = modules_after("import sys, u2net.runtime; print(*sys.modules)")

    assert "u2net.runtime" in loaded
    assert not loaded & {"onnxruntime", *HEAVY}
