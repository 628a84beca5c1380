"""A worker of the suite in this process, for tests of what is done with its answers."""

from pathlib import Path
from typing import Any

import torch

from u2net.benchmarks.suite.worker import Bench
from u2net.benchmarks.suite.workers import WorkerError


class WorkerHere:
    """Answers calls as the process would."""

    def __init__(self, _python: str, log: Path) -> None:
        self.warnings: list[str] = []
        self.contestant = log.stem
        self._bench = Bench()
        self._threads = torch.get_num_threads()

    def call(self, method: str, _timeout: float, **arguments: Any) -> Any:
        try:
            return getattr(self._bench, method)(**arguments)
        except Exception as error:
            raise WorkerError(f"{type(error).__name__}: {error}") from error

    def end(self) -> None:
        self._bench = Bench()
        torch.set_num_threads(self._threads)  # a process takes its number of threads with it
