"""One cell of the suite: every contestant on one network at one batch size, in turns."""

import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from math import inf
from typing import Any

import numpy as np

from u2net.benchmarks.noise import NoiseMeter
from u2net.benchmarks.statistics import Latency, Ratio, compare, summarize
from u2net.benchmarks.suite.contestants import EAGER, EXACT, Contestant
from u2net.benchmarks.suite.inputs import MAPS_KEPT, Inputs, repeat_to
from u2net.benchmarks.suite.networks import NetworkFiles
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.rows import Fidelity, Load, PictureSteps, Row
from u2net.benchmarks.suite.workers import Worker, WorkerError
from u2net.export.parity.figures import ComparisonMeter
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.trt.record import read_record

LEAST_ROUNDS = 3
"""Turns that each contestant gets even after the cell's time is up."""

TURN_SECONDS, TURN_RUNS = 0.05, 20
"""Duration to aim at for a turn of short runs, and the largest number of runs in it."""

SHORT_ROUND = 5.0
"""If one run of every contestant takes less than this many seconds in all, each turn, not only the first, begins with
an uncounted run: after a pause the caches hold nothing of the process, which distorts short runs."""

OPEN_SECONDS = 180.0
"""Limit of importing, and of opening: loading, compiling, first run."""

PATIENCE = 120.0
"""Seconds that another call may take before its process is taken for hung."""

PICTURE_ROUNDS = 2
LOW, HIGH = 0.1, 0.9
"""Probabilities that the reference's maps must go below and above, or any network would resemble them."""


class Cell:
    """Measures one cell."""

    def __init__(
        self, network: NetworkFiles, batch: int, inputs: Inputs, options: SuiteOptions, say: Callable[[str], None]
    ) -> None:
        self._network = network
        self._batch = batch
        self._inputs = inputs
        self._options = options
        self._say = say
        self._workers: dict[str, Worker] = {}
        self._seconds: dict[str, dict[str, list[list[float]]]] = {"wall": {}, "device": {}}
        """By clock and contestant: the seconds of each run of each turn."""

    def measure(
        self, contestants: Sequence[Contestant], until: float, noise: NoiseMeter, *, end: float = inf
    ) -> list[Row]:
        """Open every contestant, compare their maps, time them in turns, then from picture to mask.

        Args:
            until, end: when turns and pictures have to stop, by the monotonic clock.
        """
        rows = [Row(each, self._network.variant, self._batch) for each in contestants]
        with ExitStack() as stack:
            # On a GPU all start at once, because starting takes most of a short run; on a processor it is timed.
            with ThreadPoolExecutor(len(rows) if self._options.device.kind == "cuda" else 1) as pool:
                list(pool.map(lambda row: self._start(row, stack), rows))
            for row in rows:
                self._open(row)
            self._compare_maps(rows)
            with noise.watching(self._processor_seconds):
                self._take_turns(rows, until)
            self._summarize(rows, noise)
            if self._batch == min(self._options.batches):
                for row in rows:
                    if row.contestant.key in self._workers:
                        self._time_pictures(row, end)
        return rows

    def _start(self, row: Row, stack: ExitStack) -> None:
        """Start a contestant's process and import its package."""
        contestant, options = row.contestant, self._options
        python = options.python(contestant.python)
        if why := self._network.missing.get(self._network.path(contestant.source, self._batch)):
            row.error = why
        elif python is None:
            row.error = f"not here: it needs a Python of its own; name one with --python {contestant.python}=PATH"
        else:
            try:
                worker = self._workers[contestant.key] = Worker(python, options.work / f"{contestant.key}.log")
            except WorkerError as error:
                row.error = f"opening: {error}"
                return
            stack.callback(worker.end)
            seconds = self._ask(
                row, "importing", "settle", OPEN_SECONDS, package=contestant.package, device=str(options.device)
            )
            row.cold["import"] = seconds or 0.0

    def _open(self, row: Row) -> None:
        contestant, options = row.contestant, self._options
        if contestant.key not in self._workers:
            return
        self._say(f"{self._network.variant}, batch {self._batch}: opening {contestant.title}")
        file = self._network.path(contestant.source, self._batch).absolute()
        found = self._ask(
            row,
            "opening",
            "open",
            OPEN_SECONDS,
            opener=contestant.opener,
            file=str(file),
            device=str(options.device),
            tensor=repeat_to(self._inputs.of(contestant), self._batch),
            threads=options.threads,
            **contestant.options,
        )
        if found is None:
            return
        row.provider = found["provider"]
        row.cold |= found["seconds"]
        if contestant.flavour and (record := read_record(file)):
            row.cold["build"] = record.seconds
        row.memory_mb, row.gpu_memory_mb = found["memory_mb"], found["gpu_memory_mb"]
        row.device_note = found["device_note"]

    def _ask(self, row: Row, what: str, method: str, timeout: float | None = None, **arguments: object) -> Any:
        """Call a contestant's process; after an error it is ended, takes no further part, and the result is None."""
        worker = self._workers.get(row.contestant.key)
        if worker is None:
            return None
        try:
            return worker.call(method, timeout or PATIENCE, **arguments)
        except WorkerError as error:
            row.error = f"{what}: {error}"
            # A CUDA error may last until the process ends, and the memory it holds is lost to the others.
            self._workers.pop(row.contestant.key).end()
            return None
        finally:
            row.warnings = worker.warnings

    def _compare_maps(self, rows: Sequence[Row]) -> None:
        if not self._network.trained:
            for row in rows:
                row.fidelity_note = "untrained weights: speed alone"
            return
        maps = {row.contestant.key: self._maps(row) for row in rows}
        reference = maps.get(EXACT, maps.get(EAGER))
        for row in rows:
            found = maps[row.contestant.key]
            if found is not None and self._batch == min(self._options.batches):
                row.maps = found[:MAPS_KEPT]
            if reference is None:
                row.fidelity_note = "the reference did not run"
            elif found is not None and not (reference.min() <= LOW and reference.max() >= HIGH):
                row.fidelity_note = f"the reference spans only {reference.min():.2f} to {reference.max():.2f}"
            elif found is not None:
                row.fidelity = compare_maps(reference, found)

    def _maps(self, row: Row) -> FloatArray | None:
        """d0, or the mask, of every photograph, run in batches of the cell's size."""
        found, photographs = [], self._inputs.of(row.contestant)
        for start in range(0, len(photographs), self._batch):
            chunk = photographs[start : start + self._batch]
            part = self._ask(row, "running the photographs", "infer", tensor=repeat_to(chunk, self._batch))
            if part is None:
                return None
            found.append(part[: len(chunk)])
        maps: FloatArray = np.concatenate(found)
        return maps[:, None] if row.contestant.takes_images else maps

    def _processor_seconds(self) -> float:
        seconds = sum(os.times()[:4])  # with those of ended contestants
        for each in self._workers.values():
            with suppress(WorkerError):  # its next turn says what became of it
                seconds += each.call("processor_seconds", PATIENCE)
        return seconds

    def _take_turns(self, rows: Sequence[Row], until: float) -> None:
        """Time every contestant once a round, in an order that is drawn anew each time."""
        order = random.Random(f"{self._options.seed} {self._network.variant} {self._batch}")
        for index in range(self._options.rounds):
            racing = [row for row in rows if row.contestant.key in self._workers]
            if not racing or (index >= LEAST_ROUNDS and time.monotonic() > until):
                return
            self._say(f"{self._network.variant}, batch {self._batch}: round {index + 1} of {self._options.rounds}")
            quickest = {key: min(map(min, turns)) for key, turns in self._seconds["wall"].items()}
            warmup = int(sum(quickest.values()) < SHORT_ROUND)
            for row in order.sample(racing, len(racing)):
                repeats = round(TURN_SECONDS / quickest.get(row.contestant.key, TURN_SECONDS))
                repeats = max(1, min(TURN_RUNS, repeats))
                found = self._ask(row, "timing", "time", repeats=repeats, warmup=warmup)
                for clock, seconds in (found or {}).items():
                    self._seconds[clock].setdefault(row.contestant.key, []).append(seconds)

    def _summarize(self, rows: Sequence[Row], noise: NoiseMeter) -> None:
        reference = self._seconds["wall"].get(EAGER, [])
        if len(reference) > 1:
            noise.add_reference([float(np.median(turn)) for turn in reference])
        for row in rows:
            row.wall, row.ratio = self._figures(row, "wall")
            row.device, row.device_ratio = self._figures(row, "device")
            if row.wall is not None:
                row.runs = sum(map(len, self._seconds["wall"][row.contestant.key]))
                row.images_per_second = self._batch / row.wall.median_ms * 1e3

    def _figures(self, row: Row, clock: str) -> tuple[Latency | None, Ratio | None]:
        """A contestant's times by one clock, and its speed relative to eager PyTorch."""
        turns, reference = (self._seconds[clock].get(key, []) for key in (row.contestant.key, EAGER))
        if not turns:
            return None, None
        both = min(len(turns), len(reference))
        medians = ([float(np.median(turn)) for turn in side[:both]] for side in (reference, turns))
        return summarize([seconds for turn in turns for seconds in turn]), compare(*medians) if both > 1 else None

    def _time_pictures(self, row: Row, end: float) -> None:
        """Times from picture to mask; then throughput with more and more callers, of sessions of the runtime."""
        for (height, width), encoded in self._inputs.encoded.items():
            if time.monotonic() > end:
                row.warnings.append("time ran out before all pictures and callers were measured")
                return
            steps = self._ask(row, "timing pictures", "time_picture", encoded=encoded, rounds=PICTURE_ROUNDS)
            if steps is not None:
                medians = {name: 1e3 * float(np.median(seconds)) for name, seconds in steps.items()}
                row.pictures.append(PictureSteps(height, width, **medians))
        if row.contestant.opener != "file":
            return
        for callers in self._options.callers or ():
            found = self._ask(row, f"{callers} callers", "call_from", callers=callers, encoded=self._inputs.middle)
            if found is not None:
                contexts, calls = found
                wall = max(end for _, end in calls) - min(start for start, _ in calls)
                latency = summarize([end - start for start, end in calls])
                row.load.append(Load(callers, len(calls) / wall, latency, contexts))


def compare_maps(reference: FloatArray, found: FloatArray) -> Fidelity:
    """Compare P×1×H×W probabilities of the same pictures."""
    meter = ComparisonMeter("d0", logits=False)
    for index, (wanted, map_) in enumerate(zip(reference, found, strict=True)):
        meter.add(str(index), wanted, map_, overlap=True)
    result = meter.comparison()
    return Fidelity(len(reference), result.iou, result.probability.mean, result.probability.largest.value)
