import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from u2net.export.onnx_export import ExportOptions

LIMIT = 1.5
"""Time from the first import to the first mask, as a multiple of what ONNX Runtime alone takes to its first map."""

ROUNDS = 3

OURS = """
import sys, time
started = time.perf_counter()
import numpy as np
import u2net.runtime as u2
with u2.load(sys.argv[1]) as session:
    session(np.arange(480 * 640 * 3, dtype=np.uint32).astype(np.uint8).reshape(480, 640, 3))
print(time.perf_counter() - started)
"""

ONNX_RUNTIME_ALONE = """
import sys, time
started = time.perf_counter()
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {"input": np.zeros((1, 3, 320, 320), np.float32)})
print(time.perf_counter() - started)
"""


def test_the_first_mask_comes_soon_after_onnx_runtime_itself(exported: Callable[[ExportOptions], Path]) -> None:
    """In turns, so that a busy machine slows both."""
    path = str(exported(ExportOptions()))

    def run(script: str) -> float:
        command = [sys.executable, "-c", script, path]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    rounds = [(run(OURS), run(ONNX_RUNTIME_ALONE)) for _ in range(ROUNDS)]

    ours, alone = map(min, zip(*rounds, strict=True))
    assert ours < LIMIT * alone, f"{ours:.2f} s, ONNX Runtime alone {alone:.2f} s"
