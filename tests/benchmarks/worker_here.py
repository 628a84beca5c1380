"""A worker of the suite in this process, for tests of what is done with its answers."""

from pathlib import Path
from typing import Any

from u2net.benchmarks.suite.worker import Bench
from u2net.benchmarks.suite.workers import WorkerError


class WorkerHere:
    """Answers calls as the process would."""

    def __init__(self, _python: str, log: Path) -> None:
        self.warnings: list[str] = []
        self.contestant = log.stem
        self._bench = Bench()

    def call(self, method: str, _timeout: float, **arguments: Any) -> Any:
        try:
            return getattr(self._bench, method)(**arguments)
        except Exception as error:
            raise WorkerError(f"{type(error).__name__}: {error}") from error

    def end(self) -> None:
        self._bench = Bench()
