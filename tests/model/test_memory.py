import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys

import torch

from u2net.benchmarks.suite.openers import open_eager
from u2net.model.memory import keep_freed_memory
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.device import CPU
from u2net.runtime.presets import PRESETS

if sys.argv[1] == "kept":
    keep_freed_memory()
if sys.argv[1] == "benchmark":
    open_eager(BUNDLED_WEIGHTS, CPU, PRESETS["reference"])
for _ in range(20):
    torch.ones(2**24)  # glibc's caches of small remainders fill first
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that keeps memory")
def test_the_next_tensor_lies_where_the_last_one_did() -> None:
    freed, kept, benchmark = (
        int(subprocess.run([sys.executable, "-c", FAULTS, name], capture_output=True, text=True, check=True).stdout)
        for name in ("freed", "kept", "benchmark")
    )

    assert max(kept, benchmark) < freed / 10
