"""Processor cores that this process may use."""

import math
import os
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores that this process may use: those of its affinity, or fewer if a container's quota allows no more."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _read_quota())))


def limited_cores() -> int | None:
    """Cores that this process may use if the machine has more; None if it may use all."""
    cores = usable_cores()
    return cores if cores < (os.cpu_count() or 1) else None


def _read_quota() -> float:
    """Return the processor time per second that the container may take, by cgroup v2, else v1; inf without a limit."""
    with suppress(OSError, ValueError):
        quota, period = map(int, (CGROUPS / "cpu.max").read_text().split())  # ValueError for "max"
        return quota / period
    with suppress(OSError, ValueError):
        quota, period = (int((CGROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else math.inf
    return math.inf
