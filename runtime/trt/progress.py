"""How far a build is, and how it is stopped."""

import threading
from collections.abc import Callable
from typing import Any

from u2net.runtime.trt.api import Builder, IBuilderConfig, INetworkDefinition, TensorRT

Progress = Callable[[str, float], None]
"""Called from the building thread with what is being done and the share of the whole that is done, 0 to 1."""

WAIT = 0.1
"""Seconds between two looks at whether the user pressed Ctrl-C."""


class Phases:
    """Nested phases of a build as one share of the whole."""

    def __init__(self, report: Progress | None) -> None:
        self.cancelled = False
        self.failure: BaseException | None = None
        """What ``report`` raised, which ends the build; TensorRT would keep it to itself."""
        self._report = report
        self._open: dict[str, tuple[str | None, int, int]] = {}
        self._highest = 0.0
        self._lock = threading.Lock()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        with self._lock:
            self._open[name] = (parent, max(steps, 1), 0)
        self._tell(name)

    def step(self, name: str, done: int) -> bool:
        """A step of a phase is done; whether to go on."""
        with self._lock:
            if name in self._open:
                parent, steps, _ = self._open[name]
                self._open[name] = (parent, steps, min(done + 1, steps))
        self._tell(name)
        return not self.cancelled

    def finish(self, name: str) -> None:
        """A phase ends."""
        with self._lock:
            self._open.pop(name, None)

    def complete(self) -> None:
        """All is done; what ``report`` raises comes through."""
        self._highest = 1.0
        if self._report is not None:
            self._report("Engine built", 1.0)

    def share(self) -> float:
        """Of the whole that is done: each phase fills one step of the phase around it. Never decreases."""
        with self._lock:
            self._highest = max(self._highest, self._share_below(None))
            return self._highest

    def _share_below(self, parent: str | None) -> float:
        best = 0.0
        for name, (above, steps, done) in self._open.items():
            if above == parent:
                best = max(best, min((done + self._share_below(name)) / steps, 1.0))
        return best

    def _tell(self, name: str) -> None:
        if self._report is None or self.failure is not None:
            return
        try:
            self._report(name, self.share())
        except BaseException as error:  # handed to the thread that waits
            self.failure, self.cancelled = error, True


def build_with_progress(
    trt: TensorRT,
    builder: Builder,
    network: INetworkDefinition,
    config: IBuilderConfig,
    report: Progress | None,
    *,
    claim: Callable[[], object],
) -> bytes | None:
    """Build; None where TensorRT fails. Ctrl-C ends it at the builder's next step.

    TensorRT holds the thread it builds in, where Python then cannot see a signal. So it builds in another,
    while this one waits for the end or for Ctrl-C. Versions without a progress monitor build in this one.

    Args:
        claim: makes the builder's GPU the current one of the thread that builds.
    """

    def build() -> bytes | None:
        claim()
        plan = builder.build_serialized_network(network, config)
        return None if plan is None else bytes(plan)

    if not hasattr(config, "progress_monitor"):
        return build()
    phases = Phases(report)
    config.progress_monitor = _make_monitor(trt, phases)
    content = _build_aside(build, phases)
    if content is not None:
        phases.complete()
    return content


def _make_monitor(trt: Any, phases: Phases) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return phases.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()


def _build_aside(build: Callable[[], bytes | None], phases: Phases) -> bytes | None:
    outcome: list[bytes | None] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(build())
        except BaseException as error:  # handed to the thread that waits
            failure.append(error)
        finally:
            done.set()

    # An event, because in a join() Ctrl-C makes Python 3.11 take a running thread for one that has ended.
    done = threading.Event()
    thread = threading.Thread(target=work, name="tensorrt-build")
    thread.start()
    try:
        while not done.wait(WAIT):
            pass
    except BaseException:
        phases.cancelled = True
        done.wait()
        raise
    finally:
        thread.join()
    if phases.failure is not None:
        raise phases.failure
    if failure:
        raise failure[0]
    return outcome[0]
