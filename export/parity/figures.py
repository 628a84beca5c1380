"""Figures of a comparison: how much the maps of two stages differ, and on which image."""

from dataclasses import dataclass

import numpy as np

from u2net.runtime.preprocess import FloatArray

LOGIT_FLOOR = 1e-4
"""Probabilities are clipped to [1e-4, 1 − 1e-4] before they become logits; beyond ±9.2 logits are mostly rounding."""

THRESHOLD = 0.5


@dataclass(frozen=True)
class Worst:
    """Largest value of a figure, and the image that gave it."""

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
    """Figures of one output, or of the final mask, of two stages."""

    output: str
    probability: Spread
    logit: Spread | None
    """None for masks, which are not probabilities any more once they are stretched."""
    iou: float
    """Intersection over union at 0.5, pooled over all pixels of the photographs; 1 for two empty masks."""
    flipped: int
    """Number of pixels of the photographs that lie on different sides of 0.5 in the two stages."""
    nonfinite: Worst
    """Largest number of NaN and Inf values on one image."""


class SpreadMeter:
    """Collects absolute differences image by image."""

    def __init__(self) -> None:
        self._largest = self._p999 = Worst(0.0, "")
        self._sum, self._count = 0.0, 0

    def add(self, image: str, reference: FloatArray, candidate: FloatArray) -> None:
        """Add one image's maps; a NaN or Inf counts as an infinite difference."""
        difference = np.abs(reference.astype(np.float64) - candidate)
        difference[~np.isfinite(difference)] = np.inf
        self._largest = _worse(self._largest, float(difference.max()), image)
        self._p999 = _worse(self._p999, float(np.quantile(difference, 0.999, method="higher")), image)
        self._sum += float(difference.sum())
        self._count += difference.size

    def spread(self) -> Spread:
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
        """Add one image's maps, of the same shape; with ``overlap`` they count into the IoU."""
        self._probability.add(image, reference, candidate)
        if self._logit is not None:
            self._logit.add(image, to_logits(reference), to_logits(candidate))
        self._nonfinite = _worse(self._nonfinite, float((~np.isfinite(candidate)).sum()), image)
        if overlap:
            wanted, found = reference > THRESHOLD, candidate > THRESHOLD
            self._intersection += int((wanted & found).sum())
            self._union += int((wanted | found).sum())

    def comparison(self) -> Comparison:
        iou = self._intersection / self._union if self._union else 1.0
        logit = self._logit.spread() if self._logit else None
        flipped = self._union - self._intersection
        return Comparison(self.output, self._probability.spread(), logit, iou, flipped, self._nonfinite)


def to_logits(probabilities: FloatArray) -> FloatArray:
    """Return the inverse sigmoid of the clipped probabilities; NaN stays NaN."""
    clipped = np.clip(probabilities.astype(np.float64), LOGIT_FLOOR, 1 - LOGIT_FLOOR)
    return np.log(clipped / (1 - clipped)).astype(np.float32)
