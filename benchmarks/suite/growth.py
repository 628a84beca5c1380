"""How time and memory grow with the batch and with the side of the input."""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from u2net.benchmarks.page import Section, make_table, show
from u2net.benchmarks.plots import plot_lines
from u2net.benchmarks.suite.contestants import EAGER, EVERYWHERE, Contestant
from u2net.benchmarks.suite.networks import NetworkFiles, is_made_from
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.workers import Worker, WorkerError
from u2net.export.build import export_model
from u2net.export.onnx_export import ExportOptions

KEYS = (EAGER, "onnxruntime-fp32")
"""Contestants that take any shape: eager PyTorch, and our FP32 graph, here of dynamic size."""

GROWTH_BATCHES = (1, 2, 4, 8, 16, 32)
"""Batches at the suite's side."""

GROWTH_SIDES = (160, 320, 480, 640, 960, 1280)
"""Sides in pixels at batch 1."""

PATIENCE, RUNS = 600.0, 3


@dataclass(frozen=True)
class GrowthPoint:
    """Time and memory of a contestant at one shape of the input."""

    series: Literal["batch", "side"]
    """What grows."""
    contestant: Contestant
    network: str
    batch: int
    side: int
    """Height and width in pixels."""
    median_ms: float | None = None
    memory_mb: float | None = None
    """Peak memory: of the process, or what it takes of the GPU's."""
    error: str = ""
    """Why there are no figures."""


GROWTH: Mapping[str, Callable[[GrowthPoint], str]] = {
    "contestant": lambda each: each.contestant.title,
    "network": lambda each: each.network,
    "batch": lambda each: str(each.batch),
    "side": lambda each: str(each.side),
    "median ms": lambda each: each.error or show(each.median_ms, ".0f"),
    "peak MB": lambda each: show(each.memory_mb, ".0f"),
}


def measure_growth(
    network: NetworkFiles, options: SuiteOptions, say: Callable[[str], None] = lambda _message: None
) -> Iterator[GrowthPoint]:
    """Measure larger and larger batches, then sides, each in a process of its own.

    A series ends at the first shape that fails, or that would take more than ``options.growth`` GB at the rate of the
    shapes before it.
    """
    graph = network.folder / f"{network.variant}-dynamic.onnx"
    if not is_made_from(graph, network.checkpoint):
        export_model(network.checkpoint, graph, ExportOptions(size=None))
    for contestant in (each for each in EVERYWHERE if each.key in KEYS):
        file = network.checkpoint.path if contestant.key == EAGER else graph
        series: dict[Literal["batch", "side"], list[tuple[int, int]]] = {
            "batch": [(batch, options.size) for batch in GROWTH_BATCHES],
            "side": [(1, side) for side in GROWTH_SIDES],
        }
        for name, shapes in series.items():
            known = list[GrowthPoint]()
            for batch, side in shapes:
                say(f"{network.variant}, growth of {contestant.title}: batch {batch}, {side}×{side}")
                point = GrowthPoint(name, contestant, network.variant, batch, side)
                if (expected := _predict_mb(known, batch, side)) > 1e3 * (options.growth or 0):
                    error = f"not run: it would take {expected / 1e3:.1f} GB; the bound is {options.growth:g} GB"
                    point = replace(point, error=error)
                else:
                    point = _measure_point(point, file, options)
                known.append(point)
                yield point
                if point.error:
                    break


def _predict_mb(known: list[GrowthPoint], batch: int, side: int) -> float:
    """Memory at a larger shape: a line through the last two points, over the number of pixels."""
    if len(known) < 2:
        return 0.0
    (first, less), (second, more) = ((each.batch * each.side**2, each.memory_mb or 0) for each in known[-2:])
    return more + (more - less) / (second - first) * (batch * side**2 - second)


def _measure_point(point: GrowthPoint, file: Path, options: SuiteOptions) -> GrowthPoint:
    place = {"device": str(options.device), "threads": options.threads, **point.contestant.options}
    tensor = np.zeros((point.batch, 3, point.side, point.side), np.float32)
    try:
        with Worker(sys.executable, options.work / "growth.log") as worker:
            opener = point.contestant.opener
            taken = worker.call("open", PATIENCE, opener=opener, file=str(file.absolute()), tensor=tensor, **place)
            seconds = worker.call("time", PATIENCE, repeats=RUNS, warmup=0)["wall"]
    except WorkerError as error:
        return replace(point, error=str(error))
    memory = taken["memory_mb"] if taken["gpu_memory_mb"] is None else taken["gpu_memory_mb"]
    return replace(point, median_ms=1e3 * statistics.median(seconds), memory_mb=memory)


def growth_section(points: Sequence[GrowthPoint]) -> Section:
    """The part of the report about growth."""
    plots = {}
    for network in dict.fromkeys(each.network for each in points):
        known = [each for each in points if each.network == network and not each.error]
        for name, of in (("batch", "batch"), ("side", "side, in pixels")):
            for figure, unit in (("median_ms", "ms"), ("memory_mb", "MB")):
                lines: dict[str, list[tuple[float, float]]] = {}
                for each in (each for each in known if each.series == name):
                    lines.setdefault(each.contestant.key, []).append((getattr(each, name), getattr(each, figure)))
                if lines:
                    plots[f"{network}: {unit} against {name}"] = plot_lines(lines, {}, of, unit)
    text = "Each shape ran in a process of its own; memory is the peak of that process, or what it took of the GPU's."
    return Section("Growth", text, make_table(GROWTH, points), plots=plots)
