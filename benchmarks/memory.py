"""Peak memory of a model, measured in a process of its own."""

import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from u2net.benchmarks.suite.workers import Worker, WorkerError
from u2net.runtime.device import CPU
from u2net.runtime.errors import U2NetError
from u2net.runtime.loading import MODEL_SUFFIXES
from u2net.runtime.presets import PRESETS, Preset

LONGEST = 300.0
"""Seconds that opening and running may take each."""


def peak_memory_mb(path: Path, preset: Preset, batch: int) -> float:
    """Return the peak resident memory in MB of a fresh process that opens a model on the CPU and runs it.

    Raises:
        U2NetError: the process failed.
    """
    opener = "file" if path.suffix.lower() in MODEL_SUFFIXES else "eager"
    raw = asdict(PRESETS["raw"].with_size(preset.height, preset.width))
    tensor = np.zeros((batch, 3, preset.height, preset.width), np.float32)
    try:
        with TemporaryDirectory() as folder, Worker(sys.executable, Path(folder, "log")) as process:
            process.call("open", LONGEST, opener=opener, file=str(path), device=str(CPU), preset=raw, threads=None)
            return float(process.call("prepare", LONGEST, tensor=tensor)["memory_mb"])
    except WorkerError as error:
        raise U2NetError(f"measuring the memory of {path.name} failed: {error}") from error
