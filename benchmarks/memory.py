"""Peak memory of a model, measured in a separate process that runs this file as a script."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from u2net.runtime.device import CPU
from u2net.runtime.errors import U2NetError
from u2net.runtime.loading import MODEL_SUFFIXES, load
from u2net.runtime.presets import PRESETS, Preset


def peak_memory_mb(path: Path, preset: Preset, batch: int) -> float:
    """Peak resident memory in MB of a fresh process that opens a model on the CPU and runs it twice.

    Raises:
        U2NetError: the process failed.
    """
    # As a script, because as a module it would import its package and with it torch. -P keeps this folder, whose
    # statistics.py would shadow the standard library's, off the path.
    command = [sys.executable, "-P", __file__, *map(str, (path, preset.height, preset.width, batch))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise U2NetError(f"measuring the memory of {path.name} failed: {reason.replace(str(path), path.name)}")
    return float(done.stdout)


def _run(path: Path, height: int, width: int, batch: int) -> None:
    preset, tensor = PRESETS["raw"].with_size(height, width), np.zeros((batch, 3, height, width), np.float32)
    if path.suffix.lower() in MODEL_SUFFIXES:
        session = load(path, preset=preset)
    else:
        from u2net.model.opening import open_session  # imports torch, which would count for a model file too

        session = open_session(path, CPU, preset=preset)
    for _ in range(2):
        session.infer(tensor, [session.info.mask_output])


def own_peak_mb() -> float:
    """Peak resident memory of this process; on Linux without what its parent held before exec."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    _run(Path(sys.argv[1]), *(int(value) for value in sys.argv[2:5]))
    print(own_peak_mb())
