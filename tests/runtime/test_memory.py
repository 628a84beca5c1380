"""Covers runtime/memory.py, and who calls it."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import runpy
import sys
from contextlib import suppress
from multiprocessing import Pipe

import numpy as np

from u2net.cli.main import main
from u2net.runtime.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
if sys.argv[1] == "command":
    with suppress(SystemExit):
        sys.argv = ["u2net", "--help"]
        main()
if sys.argv[1] == "worker":
    near, far = Pipe()
    near.close()
    sys.argv = ["worker", str(far.fileno())]
    runpy.run_module("u2net.benchmarks.suite.worker", run_name="__main__")
for _ in range(20):
    np.ones(2**23)  # glibc's caches of small remainders fill first
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(2**23)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that keeps memory")
def test_the_next_array_lies_where_the_last_one_did() -> None:
    freed, *kept = (
        subprocess.run([sys.executable, "-c", FAULTS, name], capture_output=True, text=True, check=True).stdout
        for name in ("freed", "kept", "command", "worker")
    )

    assert max(int(text.splitlines()[-1]) for text in kept) < int(freed) / 10
