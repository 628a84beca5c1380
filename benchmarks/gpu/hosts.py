"""Worker processes, seen from the check: started when first asked, ended when they are silent for too long."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from u2net.benchmarks.gpu.protocol import Answer, Command, decode_answer, encode_command

TREE = Path(__file__).with_name("tree.py")
WORKER = "u2net.benchmarks.gpu.worker"

LAST_WORDS = 600
"""Characters of a dead worker's log that go into the answer."""
FAREWELL = 10.0
"""Seconds that a worker has to end by itself."""


class Host:
    """One worker process. Whatever happens to it becomes an answer, never an exception."""

    def __init__(self, python: str, folder: Path, log: Path) -> None:
        """Start it.

        Args:
            python: interpreter to start.
            folder: where it works; names of files in commands are relative to it.
            log: file that takes what it and its libraries print.
        """
        self._log = log
        self._answers: queue.Queue[str | None] = queue.Queue()
        with log.open("ab") as stream:
            self._log_start = stream.tell()
            # A group of its own, so that what it starts (torch's compilers) can be ended with it.
            self._process = subprocess.Popen(
                [python, "-P", str(TREE), WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                cwd=folder,
                text=True,
                encoding="utf-8",
                process_group=0,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, command: Command, timeout: float) -> Answer:
        """Give a command and wait for its answer, ``timeout`` seconds at most; then the worker is ended."""
        if self._process.stdin is None or not self.alive:
            return self._obituary()
        try:
            self._process.stdin.write(encode_command(command))
            self._process.stdin.flush()
            line = self._answers.get(timeout=timeout)
        except OSError:
            return self._obituary()
        except queue.Empty:
            self.end()
            return Answer(error=f"gave no answer within {timeout:.0f} s and was ended", timed_out=True)
        return self._obituary() if line is None else decode_answer(line)

    def end(self) -> None:
        """End it and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def dismiss(self) -> None:
        """Let it end by itself."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(FAREWELL)
        self.end()

    def _listen(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self._answers.put(line)
        self._answers.put(None)

    def _obituary(self) -> Answer:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(FAREWELL)
        self.end()
        status = self._process.returncode
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        with self._log.open("rb") as stream:
            stream.seek(self._log_start)
            said = stream.read().decode("utf-8", "replace").strip()
        words = said if len(said) <= LAST_WORDS else f"…{said[-LAST_WORDS:]}"
        return Answer(error=f"the process ended with {how}; its last words: {words or 'none'}")


class Hosts:
    """Workers by name. One that has died is started again when next asked; what was open in it is gone."""

    def __init__(self, pythons: Mapping[str, str], folder: Path) -> None:
        """Name them.

        Args:
            pythons: interpreter of each.
            folder: where all of them work.
        """
        self._pythons = dict(pythons)
        self._folder = folder
        self._hosts: dict[str, Host] = {}

    def ask(self, name: str, command: Command, timeout: float) -> Answer:
        """See :meth:`Host.ask`."""
        if name not in self._hosts or not self._hosts[name].alive:
            try:
                self._hosts[name] = Host(self._pythons[name], self._folder, self._folder / f"{name}.log")
            except OSError as error:
                return Answer(error=f"{self._pythons[name]} cannot be started: {error.strerror or error}")
        return self._hosts[name].ask(command, timeout)

    def dismiss(self, name: str) -> None:
        """End one that is not needed any more."""
        if name in self._hosts:
            self._hosts.pop(name).dismiss()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._hosts):
            self.dismiss(name)
