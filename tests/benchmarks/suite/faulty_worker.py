"""A worker whose contestants are slow, wrong, crash, hang or lack a package, around the session that a file gives."""

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from u2net.benchmarks.suite import worker
from u2net.benchmarks.suite.openers import OPENERS, open_file
from u2net.runtime.device import Device
from u2net.runtime.errors import DependencyError
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.presets import Preset
from u2net.runtime.session import Session


def open_faulty(file: Path, device: Device, preset: Preset, threads: int | None, fault: str) -> Session:
    """Open a file with a fault."""
    if fault == "missing package":
        raise DependencyError("openvino", "openvino")
    session = open_file(file, device, preset, threads)
    infer, calls = session.infer, iter(range(1_000_000))

    def infer_faultily(tensor: FloatArray, outputs: Any = None) -> dict[str, FloatArray]:
        if fault == "crash" and next(calls) > 3:
            print("about to crash", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == "hang" and next(calls) > 3:
            time.sleep(600)
        if fault == "slow":
            time.sleep(1.5)
        maps = infer(tensor, outputs)
        return {name: 1 - values if fault == "wrong" else values for name, values in maps.items()}

    session.infer = infer_faultily  # type: ignore[method-assign, assignment]
    return session


if __name__ == "__main__":
    OPENERS["file"] = open_faulty
    worker.serve(Connection(int(sys.argv[1])), worker.Bench())
