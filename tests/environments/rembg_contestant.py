"""Measure rembg in its own Python beside eager PyTorch: ``rembg_contestant.py PYTHON FOLDER``."""

import sys
from pathlib import Path

from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.suite import run_suite

python, folder = sys.argv[1], Path(sys.argv[2])
options = SuiteOptions(
    networks=("u2netp",), batches=(1,), contestants=("rembg",), rounds=2, pythons={"rembg": python}, work=folder
)
eager, rembg = run_suite(options).rows
if rembg.error or rembg.fidelity is None or rembg.fidelity.mean > 1e-5 or len(rembg.pictures) != 3:
    sys.exit(f"rembg was not measured: {rembg}")
print(f"{rembg.provider}: measured beside {eager.provider}")
