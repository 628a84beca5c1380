import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from u2net.export.onnx_export import ExportOptions

LIMIT = 1.0
"""Seconds from the first import to the first mask, on two cores."""

SCRIPT = """
import sys, time
started = time.perf_counter()
import numpy as np
import u2net.runtime as u2
with u2.load(sys.argv[1]) as session:
    session(np.arange(480 * 640 * 3, dtype=np.uint32).astype(np.uint8).reshape(480, 640, 3))
print(time.perf_counter() - started)
print(sorted({"torch", "onnx"} & set(sys.modules)))
"""


def test_first_mask_comes_within_a_second(exported: Callable[[ExportOptions], Path]) -> None:
    command = [sys.executable, "-c", SCRIPT, str(exported(ExportOptions()))]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n") for _ in range(5)]
    assert min(float(seconds) for seconds, *_ in runs) < LIMIT
    assert {heavy for _, heavy, *_ in runs} == {"[]"}
