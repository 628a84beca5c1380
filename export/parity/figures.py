"""Figures of a comparison: how far two stages' maps differ, and on which image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from u2net.runtime.preprocess import FloatArray

LOGIT_FLOOR = 1e-4
"""Probabilities are clipped to [1e-4, 1 − 1e-4] before they become logits: beyond ±9.2 rounding drowns them."""

THRESHOLD = 0.5


@dataclass(frozen=True)
class Worst:
    """A figure's largest value, and the image it stood on."""

    value: float
    image: str


@dataclass(frozen=True)
class Spread:
    """Absolute differences over a set of images."""

    largest: Worst
    mean: float
    p999: Worst
    """Largest 99.9th percentile of any one image."""


@dataclass(frozen=True)
class Comparison:
    """One output, or the final mask, of two stages."""

    output: str
    probability: Spread
    logit: Spread | None
    """None for masks, which are no probabilities once stretched."""
    iou: float
    """Intersection over union at 0.5, pooled over all pixels of the photographs; two empty masks count as equal."""
    flipped: int
    """Pixels of the photographs that are on one side of 0.5 in one stage and on the other in the other."""
    nonfinite: Worst
    """Most NaN and Inf values on one image."""


class SpreadMeter:
    """Collects absolute differences image by image."""

    def __init__(self) -> None:
        self._largest = self._p999 = Worst(0.0, "")
        self._sum, self._count = 0.0, 0

    def add(self, image: str, reference: FloatArray, candidate: FloatArray) -> None:
        """Take one image's maps; a NaN or Inf counts as an infinite difference."""
        difference = np.abs(reference.astype(np.float64) - candidate)
        difference[~np.isfinite(difference)] = np.inf
        self._largest = _worse(self._largest, float(difference.max()), image)
        self._p999 = _worse(self._p999, float(np.quantile(difference, 0.999, method="higher")), image)
        self._sum += float(difference.sum())
        self._count += difference.size

    def spread(self) -> Spread:
        """Figures of what was added so far."""
        return Spread(self._largest, self._sum / max(1, self._count), self._p999)


def _worse(known: Worst, value: float, image: str) -> Worst:
    return Worst(value, image) if value > known.value or not known.image else known


class ComparisonMeter:
    """Collects one output's maps image by image."""

    def __init__(self, output: str, *, logits: bool = True) -> None:
        self.output = output
        self._probability = SpreadMeter()
        self._logit = SpreadMeter() if logits else None
        self._intersection = self._union = 0
        self._nonfinite = Worst(0.0, "")

    def add(self, image: str, reference: FloatArray, candidate: FloatArray, *, overlap: bool) -> None:
        """Take one image's maps, of the same shape; ``overlap`` counts it into the IoU."""
        self._probability.add(image, reference, candidate)
        if self._logit is not None:
            self._logit.add(image, to_logits(reference), to_logits(candidate))
        self._nonfinite = _worse(self._nonfinite, float((~np.isfinite(candidate)).sum()), image)
        if overlap:
            wanted, found = reference > THRESHOLD, candidate > THRESHOLD
            self._intersection += int((wanted & found).sum())
            self._union += int((wanted | found).sum())

    def comparison(self) -> Comparison:
        """Figures of what was added so far."""
        iou = self._intersection / self._union if self._union else 1.0
        logit = self._logit.spread() if self._logit else None
        flipped = self._union - self._intersection
        return Comparison(self.output, self._probability.spread(), logit, iou, flipped, self._nonfinite)


def to_logits(probabilities: FloatArray) -> npt.NDArray[np.float32]:
    """Inverse sigmoid of clipped probabilities; NaN stays NaN."""
    clipped = np.clip(probabilities.astype(np.float64), LOGIT_FLOOR, 1 - LOGIT_FLOOR)
    return np.log(clipped / (1 - clipped)).astype(np.float32)
