"""How noisy the machine was during a benchmark, so that figures from a loaded machine are not quoted."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SPREAD_LIMIT = 0.2
"""Largest quotable spread of the reference. A quiet machine stays below 0.1."""

FOREIGN_LIMIT = 0.1
"""Largest quotable share of the processor that other processes took."""


@dataclass(frozen=True)
class Noise:
    """What disturbed a benchmark."""

    spread: float
    """(90th − 10th percentile) / median of the reference's times, the largest over all networks and batch sizes."""
    foreign_load: float | None
    """Share of the processor, 0 to 1, that other processes took meanwhile; None outside Linux."""

    @property
    def warning(self) -> str:
        """Why the figures must not be quoted; empty if they may be."""
        reasons = []
        if self.spread > SPREAD_LIMIT:
            reasons.append(f"the reference varied by {self.spread:.0%} of its median (limit {SPREAD_LIMIT:.0%})")
        if self.foreign_load is not None and self.foreign_load > FOREIGN_LIMIT:
            reasons.append(f"other processes took {self.foreign_load:.0%} of the processor (limit {FOREIGN_LIMIT:.0%})")
        return f"Do not quote these figures: {' and '.join(reasons)}." if reasons else ""


class NoiseMeter:
    """Collects what disturbed the timings of a benchmark."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._spread = self._foreign = self._wall = 0.0

    @contextmanager
    def watching(self, own_seconds: Callable[[], float] = time.process_time) -> Iterator[None]:
        """Count the processor time of other processes within this context.

        Args:
            own_seconds: returns the processor seconds of the benchmark itself so far.
        """
        busy, own, wall = _busy_seconds(), own_seconds(), time.perf_counter()
        yield
        after = _busy_seconds()
        if busy is not None and after is not None:
            self._wall += time.perf_counter() - wall
            self._foreign += max(0.0, (after - busy) - (own_seconds() - own))

    def add_reference(self, seconds: Sequence[float]) -> None:
        """Add the reference's times at one batch size."""
        low, median, high = np.percentile(seconds, [10, 50, 90])
        self._spread = max(self._spread, float((high - low) / median))

    def summarize(self) -> Noise:
        """Noise over everything that was watched."""
        return Noise(self._spread, self._foreign / (self._wall * self._cores) if self._wall else None)


def _busy_seconds() -> float | None:
    """Seconds that processes, and the host that shares the machine, took of the usable cores; None outside Linux."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    cores, ticks = {f"cpu{core}" for core in os.sched_getaffinity(0)}, 0
    for name, *counts in map(str.split, stat.read_text().splitlines()):
        if name in cores:
            user, nice, system, _idle, _wait, interrupts, soft_interrupts, stolen = map(int, counts[:8])
            ticks += user + nice + system + interrupts + soft_interrupts + stolen
    return ticks / os.sysconf("SC_CLK_TCK")
