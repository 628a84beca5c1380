"""The arithmetic of a benchmark: percentiles, and the ratio of two medians with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Latency:
    """Percentiles of a latency, in milliseconds."""

    median_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Ratio:
    """Speed relative to the reference, with a 95 % bootstrap interval; above 1 is faster."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high == 1:
            return "1"
        found = "tie" if self.low <= 1 <= self.high else f"{self.value:.2f}×"
        return f"{found} ({self.low:.2f}–{self.high:.2f})"


def summarize(seconds: Sequence[float]) -> Latency:
    """Return the percentiles of single times, linearly interpolated."""
    median, p90, p99 = np.percentile(np.asarray(seconds) * 1e3, [50, 90, 99])
    return Latency(float(median), float(p90), float(p99))


def compare(reference: Sequence[float], candidate: Sequence[float]) -> Ratio:
    """Return the median of the reference's times over the median of the candidate's.

    Rounds are resampled as pairs, because both times of a round were taken one after the other, under the same load.

    Args:
        reference, candidate: seconds, one per round, in the same order.
    """
    times = np.array([reference, candidate])
    picks = np.random.default_rng(0).integers(0, len(reference), (RESAMPLES, len(reference)))
    medians = np.median(times[:, picks], axis=2)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(medians[0] / medians[1], [tail, 100 - tail])
    return Ratio(float(np.median(times[0]) / np.median(times[1])), float(low), float(high))
