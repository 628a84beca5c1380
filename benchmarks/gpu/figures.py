"""The figures of one contestant on one network at one batch size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from u2net.benchmarks.statistics import Latency, Ratio, compare, summarize

Rounds = Sequence[Sequence[float]]
"""Seconds of single runs, a list a turn."""


@dataclass(frozen=True)
class Timing:
    """Times of one clock, of whole batches."""

    latency: Latency
    images_per_second: float
    """At the median."""
    ratio: Ratio | None
    """To eager FP32 with PyTorch's defaults; None where that was not measured."""
    rounds: int
    runs: int


@dataclass(frozen=True)
class Parity:
    """How far d0 is from eager FP32 without TF32, over a set of pictures."""

    pictures: str
    count: int
    iou: float
    """At 0.5, pooled over all pixels."""
    mean: float
    """Mean absolute difference of the probabilities."""
    largest: float


@dataclass(frozen=True)
class Share:
    """Of the ceilings, from 0 to 1."""

    arithmetic: float
    traffic: float


@dataclass(frozen=True)
class Row:
    """One contestant; a figure that could not be had is None, and ``error`` or a note says why."""

    key: str
    title: str
    network: str
    batch: int
    precision: str
    is_tensorrt: bool
    provider: str = ""
    device: Timing | None = None
    """Between CUDA events: GPU memory to GPU memory."""
    wall: Timing | None = None
    """Host memory to host memory."""
    memory_mb: float | None = None
    """GPU memory that opening and the first runs took."""
    open_seconds: float | None = None
    parity: tuple[Parity, ...] = ()
    parity_note: str = ""
    """Why there is no parity."""
    share: Share | None = None
    warnings: tuple[str, ...] = ()
    error: str = ""


def time_figures(rounds: Rounds, reference: Rounds | None, batch: int) -> Timing | None:
    """Percentiles over all runs, and the ratio of medians over the turns that both took."""
    runs = [seconds for turn in rounds for seconds in turn]
    if not runs:
        return None
    latency = summarize(runs)
    both = min(len(rounds), len(reference)) if reference else 0
    ratio = None
    if reference and both > 1:
        ratio = compare(*([float(np.median(turn)) for turn in side[:both]] for side in (reference, rounds)))
    return Timing(latency, batch / latency.median_ms * 1e3, ratio, len(rounds), len(runs))
