import sys
from pathlib import Path

import pytest

from u2net.benchmarks.memory import peak_memory_mb
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.errors import U2NetError
from u2net.runtime.presets import PRESETS

PRESET = PRESETS["raw"].with_size(160, 160)


@pytest.fixture(scope="module")
def session_peak(small_onnx: Path) -> float:
    """Peak of the ONNX file in MB at batch 1."""
    return peak_memory_mb(small_onnx, PRESET, 1)


def test_a_model_holds_at_least_its_weights(session_peak: float, small_onnx: Path) -> None:
    assert small_onnx.stat().st_size / 1e6 < session_peak < 1000


def test_a_larger_batch_takes_more(session_peak: float, small_onnx: Path) -> None:
    assert peak_memory_mb(small_onnx, PRESET, 4) > session_peak + 10


def test_deployed_takes_far_less_than_eager(session_peak: float) -> None:
    """The process that runs an ONNX file does not import torch."""
    assert session_peak < 0.7 * peak_memory_mb(BUNDLED_WEIGHTS, PRESET, 1)


def test_a_model_that_cannot_run_is_an_error_with_its_reason(small_onnx: Path) -> None:
    with pytest.raises(U2NetError, match=r"measuring the memory of .*\.onnx failed: .*takes height 160; got 64"):
        peak_memory_mb(small_onnx, PRESET.with_size(64, 64), 1)


def test_a_process_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nkill -9 $$\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(U2NetError, match=r"memory of m\.onnx failed: the process ended with signal SIGKILL"):
        peak_memory_mb(Path("m.onnx"), PRESET, 1)
