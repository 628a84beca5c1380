"""A worker: reads commands, does them one by one, answers. It needs the runtime's packages and no torch of its own.

Run as ``tree.py u2net.benchmarks.gpu.worker`` in the folder of the files; the command decides what else is imported.
"""

import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from u2net.benchmarks.gpu import protocol
from u2net.benchmarks.gpu.arrays import read_array, write_array
from u2net.benchmarks.gpu.gpu_memory import free_bytes
from u2net.benchmarks.gpu.protocol import Answer
from u2net.benchmarks.gpu.runners import Runner, make_runner, settle
from u2net.benchmarks.timing import time_in_turns
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError
from u2net.runtime.preprocess import FloatArray

FIRST_RUNS = 3
"""The second run of a session records its CUDA graph, the third is the first that launches it."""


class WarningCollector(logging.Handler):
    """Keeps what the package warns of, for the next answer."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())

    def drain(self) -> tuple[str, ...]:
        """The messages since the last call."""
        messages, self._messages = tuple(self._messages), []
        return messages


class Worker:
    """Models that are open, by key, with the input that each is timed on."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Runner, FloatArray]] = {}
        self._devices: set[Device] = set()

    def do(self, command: protocol.Command) -> dict[str, Any]:
        """Do one command; give its value."""
        match command:
            case protocol.Open():
                return self._start(command)
            case protocol.Infer():
                return self._infer(command)
            case protocol.Time():
                return {"seconds": self._time(command)}
            case protocol.Close():
                self._open.pop(command.key, None)
                gc.collect()
                for device in self._devices:
                    free_bytes(device, tidy=True)
                return {}
            case _:
                return _one_off(command)

    def require_sound_devices(self) -> None:
        """Raise where an error has left a GPU unusable for this process."""
        for device in self._devices:
            free_bytes(device)

    def _start(self, command: protocol.Open) -> dict[str, Any]:
        device, tensor = Device.parse(command.device), read_array(Path(command.input))
        self._devices.add(device)
        settle(command)
        before, started = free_bytes(device, tidy=True), time.perf_counter()
        runner = make_runner(command, tensor)
        for _ in range(FIRST_RUNS):
            runner.infer(tensor)
        self._open[command.key] = (runner, tensor)
        seconds, after = time.perf_counter() - started, free_bytes(device)
        memory = None if before is None or after is None else (before - after) / 1e6
        return {"provider": runner.provider, "seconds": seconds, "memory_mb": memory}

    def _infer(self, command: protocol.Infer) -> dict[str, Any]:
        runner, bound = self._find(command.key)
        pictures, batch = read_array(Path(command.input)), len(bound)
        maps = []
        for start in range(0, len(pictures), batch):
            chunk = pictures[start : start + batch]
            # A network of fixed batch takes no fewer: pictures from the start fill the last batch up.
            padded = np.ascontiguousarray(np.resize(chunk, (batch, *chunk.shape[1:])))
            maps.append(runner.infer(padded)[: len(chunk)])
        write_array(Path(command.output), np.concatenate(maps))
        return {}

    def _time(self, command: protocol.Time) -> list[float] | None:
        runner, tensor = self._find(command.key)
        if command.clock == "device":
            return runner.time_device(command.repeats, command.warmup)
        return time_in_turns({"": partial(runner.infer, tensor)}, command.repeats, command.warmup)[""]

    def _find(self, key: str) -> tuple[Runner, FloatArray]:
        if key not in self._open:
            raise InputError(f"{key} is not open here: the process that it was open in has ended")
        return self._open[key]


def _one_off(command: protocol.Command) -> dict[str, Any]:
    """Commands that leave nothing open. Each needs packages of its own."""
    match command:
        case protocol.Hello():
            from u2net.benchmarks.gpu.installed import describe_python

            return describe_python()
        case protocol.Build() | protocol.Inspect():
            from u2net.benchmarks.gpu import engines

            return engines.do(command)
        case _:
            from u2net.benchmarks.gpu import preparing

            return preparing.do(command)


def answer_line(worker: Worker, line: str, warned: Callable[[], tuple[str, ...]]) -> Answer:
    """Do a command and make an answer of whatever comes of it."""
    try:
        value = worker.do(protocol.decode_command(line))
    except Exception as error:  # any library may raise anything, and each failure is a row of the report
        return Answer(error=explain(error), warnings=warned())
    return Answer(value, warnings=warned())


def explain(error: BaseException) -> str:
    """An error in its own words, with its kind before them."""
    return f"{type(error).__name__}: {error}".strip().removesuffix(":")


def serve(requests: TextIO, replies: TextIO) -> int:
    """Answer until the commands end; gives the exit status."""
    warnings = WarningCollector()
    logging.getLogger("u2net").addHandler(warnings)
    worker = Worker()
    for line in requests:
        answer = answer_line(worker, line, warnings.drain)
        replies.write(protocol.encode_answer(answer))
        replies.flush()
        if not answer.worked:
            gc.collect()
            try:
                worker.require_sound_devices()
            except Exception as error:
                print(f"the GPU cannot be used from this process any more: {explain(error)}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.exit(serve(sys.stdin, answers))
