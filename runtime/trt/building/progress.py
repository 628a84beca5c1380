"""Progress of a build, and how Ctrl-C stops it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

BuildProgress = Callable[[str, float], None]
"""Called from the building thread with the current phase and the share of the whole build that is done, 0 to 1."""

WAIT = 0.1
"""Seconds between two checks for Ctrl-C."""


class Phases:
    """Turns TensorRT's nested build phases into one share of the whole."""

    def __init__(self, report: BuildProgress | None) -> None:
        self.cancelled = False
        self.failure: BaseException | None = None
        """Exception that ``report`` raised. It ends the build; TensorRT itself would swallow it."""
        self._report = report
        self._open: dict[str, tuple[str | None, int, int]] = {}
        self._highest = 0.0
        self._lock = threading.Lock()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._open[name] = (parent, max(steps, 1), 0)
        self._tell(name)

    def step(self, name: str, done: int) -> bool:
        """Count a step of a phase; return False if the build must stop."""
        with self._lock:
            if name in self._open:
                parent, steps, _ = self._open[name]
                self._open[name] = (parent, steps, done + 1)
        self._tell(name)
        return not self.cancelled

    def finish(self, name: str) -> None:
        with self._lock:
            self._open.pop(name, None)

    def share(self) -> float:
        """Share of the build that is done; it never decreases. A phase fills one step of its parent."""
        with self._lock:
            self._highest = max(self._highest, self._share_below(None))
            return self._highest

    def _share_below(self, parent: str | None) -> float:
        inside = ((name, steps, done) for name, (above, steps, done) in self._open.items() if above == parent)
        return max((min((done + self._share_below(name)) / steps, 1.0) for name, steps, done in inside), default=0.0)

    def _tell(self, name: str) -> None:
        if self._report is None or self.failure is not None:
            return
        try:
            self._report(name, self.share())
        except BaseException as error:  # raised again in the waiting thread
            self.failure, self.cancelled = error, True


def build_with_progress(
    trt: Any, config: Any, build: Callable[[], bytes | None], report: BuildProgress | None
) -> bytes | None:
    """Run a build that reports its progress and that Ctrl-C ends at the builder's next step.

    TensorRT does not return to Python while it builds, so the main thread would not see a signal. The build therefore
    runs in a second thread.
    """
    phases = Phases(report)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        phase_start = staticmethod(phases.start)
        step_complete = staticmethod(phases.step)
        phase_finish = staticmethod(phases.finish)

    config.progress_monitor = Monitor()
    with ThreadPoolExecutor(1, "tensorrt-build") as pool:
        building = pool.submit(build)
        try:
            while not wait([building], WAIT).done:
                pass
        except BaseException:
            phases.cancelled = True
            raise
    if phases.failure is not None:
        raise phases.failure
    content = building.result()
    if content is not None and report is not None:
        report("Engine built", 1.0)
    return content
