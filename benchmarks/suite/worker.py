"""A process with one contestant: it does what the suite asks for through a pipe, one call at a time.

Run as ``tree.py u2net.benchmarks.suite.worker HANDLE``. It needs the runtime's packages, and those of its contestant.
"""

import importlib
import logging
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from io import BytesIO
from logging.handlers import BufferingHandler
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from u2net.benchmarks.suite import gpu
from u2net.benchmarks.suite.openers import OPENERS
from u2net.runtime.backend import Array
from u2net.runtime.device import Device
from u2net.runtime.errors import U2NetError
from u2net.runtime.images import read_image
from u2net.runtime.memory import keep_freed_memory
from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import preprocess
from u2net.runtime.presets import PRESETS
from u2net.runtime.session import Session
from u2net.runtime.trt.profiles import sides_of

FURTHER_RUNS = {"cpu": 0, "cuda": 2}
"""Runs after the first, before anything is timed: an engine's second run records its CUDA graph, the third is the first
to launch it."""

CALLER_SECONDS = 1.0
"""Least time that concurrent callers are counted for."""

MOST_WARNINGS = 1000
"""Number of warnings kept for the answer to one call."""

Run = Callable[[], object]
"""Does one whole piece of work and returns when it is finished."""


class Bench:
    """What this process does for the suite: run a contestant, or find, build and inspect engines."""

    _session: Session
    _input: Array
    _timer: gpu.DeviceTimer | None = None

    def settle(self, package: str, device: str) -> float:
        """Import a contestant's package, initialize CUDA, and return the seconds; :meth:`open` says what is missing."""
        started = time.perf_counter()
        with suppress(ImportError, OSError):
            importlib.import_module(package)
        gpu.free_gpu_mb(Device.parse(device))
        return time.perf_counter() - started

    def open(self, opener: str, file: str, device: str, tensor: Array, **options: Any) -> dict[str, Any]:
        """Open the contestant and run it until nothing more is compiled or recorded.

        Args:
            tensor: the input that is timed, N×3×H×W, or images N×H×W×3.
            options: further arguments of the opener, ``threads`` among them.

        Returns:
            What it is, how long each step took, the memory taken so far, and why runs cannot be timed on the device.
        """
        _, *sides = sides_of(tensor.shape, images=tensor.dtype == np.uint8)
        place, preset = Device.parse(device), PRESETS["reference"].with_size(*sides)
        free_before = gpu.free_gpu_mb(place)
        started = time.perf_counter()
        session = OPENERS[opener](Path(file), place, preset, **options)
        opened = time.perf_counter()
        self._session, self._input = session, tensor
        maps = self.infer(tensor)
        seconds = {"open": opened - started, "first_run": time.perf_counter() - opened}
        for _ in range(FURTHER_RUNS[place.kind]):
            maps = self.infer(tensor)
        note = ""
        if place.kind == "cuda":
            try:
                self._timer = gpu.DeviceTimer(session, tensor, maps)
                self._timer.time(1, 1 + FURTHER_RUNS[place.kind])
            except U2NetError as error:
                self._timer, note = None, str(error)
        free = gpu.free_gpu_mb(place)
        return {
            "provider": f"{session.info.backend}, {session.info.provider}",
            "seconds": seconds,
            "memory_mb": own_peak_mb(),
            "gpu_memory_mb": None if free_before is None or free is None else free_before - free,
            "device_note": note,
        }

    def measure_ceilings(self, **arguments: Any) -> Any:
        """See :func:`u2net.benchmarks.suite.limits.measure_ceilings`."""
        from u2net.benchmarks.suite.limits import measure_ceilings

        return measure_ceilings(**arguments)

    find_tensorrt = staticmethod(gpu.find_tensorrt)
    compile_graph = staticmethod(gpu.compile_graph)
    time_layers = staticmethod(gpu.time_layers)
    processor_seconds = staticmethod(time.process_time)

    def infer(self, tensor: Array) -> Array:
        """Run the network and return d0, or masks."""
        output = self._session.info.mask_output
        return np.ascontiguousarray(self._session.infer(tensor, [output])[output])

    def time(self, repeats: int, warmup: int) -> dict[str, list[float]]:
        """Seconds of single runs: ``wall`` from host memory to host memory, ``device`` without copies on a GPU."""
        wall = time_in_turns({"wall": partial(self.infer, self._input)}, repeats, warmup)
        return wall | ({"device": self._timer.time(repeats, warmup)} if self._timer else {})

    def time_picture(self, encoded: bytes, rounds: int) -> dict[str, list[float]]:
        """Seconds of each step from an encoded picture to its mask."""
        session, image = self._session, read_image(BytesIO(encoded))
        ends: dict[str, Run] = {
            "decode": lambda: read_image(BytesIO(encoded)),
            "whole": lambda: session(read_image(BytesIO(encoded))),
        }
        # A session of another kind, as rembg's, takes steps of its own; a network that takes images has one step alone.
        if type(session) is Session and not session.info.takes_images:
            output, preset = session.info.mask_output, session.info.preset
            tensor = preprocess(image, preset)
            maps = session.infer(tensor, [output])[output]
            ends |= {
                "preprocess": lambda: preprocess(image, preset),
                "compute": lambda: session.infer(tensor, [output]),
                "postprocess": lambda: postprocess(maps[0], preset, *image.shape[:2]),
            }
        return time_in_turns(ends, rounds, 1)

    def call_from(self, callers: int, encoded: bytes) -> tuple[int | None, list[tuple[float, float]]]:
        """Call the session from several threads at once.

        Returns the largest number of runs at once, and start and end of each call in seconds.
        """
        image, calls = read_image(BytesIO(encoded)), list[tuple[float, float]]()
        end = time.perf_counter() + CALLER_SECONDS

        def call(_caller: int) -> None:
            while (started := time.perf_counter()) < end:
                self._session(image)
                calls.append((started, time.perf_counter()))

        with ThreadPoolExecutor(callers) as threads:
            list(threads.map(call, range(callers)))
        return self._session.info.contexts, calls


def time_in_turns(runs: Mapping[str, Run], rounds: int, warmup: int) -> dict[str, list[float]]:
    """Seconds of each run, one per round, taken in turns A B A B …, after ``warmup`` rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(-warmup, rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if index >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def own_peak_mb() -> float | None:
    """Peak resident memory of this process, on Linux without what its parent held before exec; None on Windows."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def serve(connection: Connection, bench: object) -> None:
    """Answer calls, each a method's name and its arguments, with ``(value, error, warnings)`` until the pipe closes."""
    warnings = BufferingHandler(MOST_WARNINGS)
    warnings.setLevel(logging.WARNING)
    logging.getLogger("u2net").addHandler(warnings)
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        value, failure = None, ""
        try:
            value = getattr(bench, name)(**arguments)
        except Exception as error:  # a library may raise anything, and each failure is a row of the report
            failure = f"{type(error).__name__}: {error}".strip().removesuffix(":")
        connection.send((value, failure, [record.getMessage() for record in warnings.buffer]))
        warnings.flush()


if __name__ == "__main__":
    keep_freed_memory()  # PyTorch's tuning guide advises it, and the others' steps on pictures must not take longer
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection as Connection
    serve(Connection(int(sys.argv[1])), Bench())
