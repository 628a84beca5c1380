"""How alike two contestants' maps are."""

from u2net.benchmarks.gpu.figures import Parity
from u2net.export.parity.figures import ComparisonMeter
from u2net.runtime.preprocess import FloatArray

LOW, HIGH = 0.1, 0.9
"""Probabilities that a network must go below and above, or anything would look like it."""


def compare_maps(pictures: str, reference: FloatArray, candidate: FloatArray) -> Parity:
    """Figures over a set: float32 P×1×H×W each."""
    meter = ComparisonMeter("d0", logits=False)
    for index, (wanted, found) in enumerate(zip(reference, candidate, strict=True)):
        meter.add(str(index), wanted, found, overlap=True)
    comparison = meter.comparison()
    spread = comparison.probability
    return Parity(pictures, len(reference), comparison.iou, spread.mean, spread.largest.value)


def why_unfit(reference: FloatArray) -> str:
    """Why nothing can be told from these maps; empty where they span far enough."""
    low, high = float(reference.min()), float(reference.max())
    return "" if low <= LOW and high >= HIGH else f"the reference's maps span only {low:.3f} to {high:.3f}"
