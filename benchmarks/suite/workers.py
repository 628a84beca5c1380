"""The suite's side of a worker process: whatever happens to the process becomes an error in words."""

import contextlib
import os
import signal
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, Self

from u2net.runtime.errors import U2NetError

TREE = Path(__file__).resolve().parents[1] / "gpu" / "tree.py"
WORKER = "u2net.benchmarks.suite.worker"

LAST_WORDS = 400
"""Characters of a dead process's output that its error quotes."""
FAREWELL = 5.0
"""Seconds that a process whose pipe broke has to end, so that its exit status is its own."""
GRACE = 0.2
"""Seconds that a process has to end after its pipe was closed."""


class WorkerError(U2NetError):
    """A call failed, or its process crashed or gave no answer in time."""


class Worker:
    """A process that runs :class:`u2net.benchmarks.suite.worker.Bench`; a ``with`` block ends it."""

    def __init__(self, python: str, log: Path, module: str = WORKER) -> None:
        """Start it.

        Args:
            python: interpreter to start.
            log: file for what the process prints.

        Raises:
            WorkerError: the interpreter cannot be started.
        """
        self.warnings: list[str] = []
        self._log = log
        self._pipe, far = Pipe()
        command = [python, "-P", str(TREE), module, str(far.fileno())]
        try:
            with log.open("wb") as stream:
                self._process = subprocess.Popen(command, stdout=stream, stderr=stream, **_start_options(far.fileno()))
        except OSError as error:
            raise WorkerError(f"{python} cannot be started: {error.strerror or error}") from error
        finally:
            far.close()

    def call(self, method: str, timeout: float, **arguments: Any) -> Any:
        """Call a method in the process and return its value.

        Raises:
            WorkerError: the method failed, or the process ended or took longer than ``timeout`` seconds; then it is
                ended.
        """
        try:
            self._pipe.send((method, arguments))
            if not self._pipe.poll(timeout):
                self.end()
                raise WorkerError(f"gave no answer within {timeout:.0f} s and was ended")
            value, error, warnings = self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerError(self._obituary()) from None
        self.warnings += [each for each in warnings if each not in self.warnings]
        if error:
            raise WorkerError(error)
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process and what it has started. A second call does nothing."""
        if self._pipe.closed:
            return
        self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        if sys.platform == "win32":
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _obituary(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(FAREWELL)
        self.end()
        status = self._process.returncode
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        words = self._log.read_text(encoding="utf-8", errors="replace").strip()[-LAST_WORDS:]
        return f"the process ended with {how}; its last output: {words or 'none'}"


def _start_options(pipe: int) -> dict[str, Any]:
    """Arguments of Popen with which a process inherits a pipe, and which let :meth:`Worker.end` find what it starts."""
    if sys.platform == "win32":
        os.set_handle_inheritable(pipe, True)
        return {"startupinfo": subprocess.STARTUPINFO(lpAttributeList={"handle_list": [pipe]})}
    # In a process group of its own, so that what it starts, as torch's compilers, is ended with it.
    return {"pass_fds": [pipe], "process_group": 0}
