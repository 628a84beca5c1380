"""How far a stage may be from its reference; docs/parity.md gives the reasons."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Limits of one precision. A figure equal to its limit passes."""

    largest: float
    """Of a probability's absolute difference, on any pixel of any image."""
    mean: float
    """Of a probability's absolute difference, over all images."""
    logit_mean: float
    iou: float
    """Smallest pooled IoU at 0.5."""
    mask_largest: float
    mask_mean: float


FEW_PIXELS = 4
"""So many pixels may change sides at 0.5 whatever the IoU: of a small object one is more than its limit allows."""

TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(largest=1e-4, mean=1e-6, logit_mean=1e-4, iou=0.9999, mask_largest=1e-3, mask_mean=1e-5),
    "fp16": Tolerance(largest=5e-2, mean=1e-3, logit_mean=5e-2, iou=0.997, mask_largest=1e-1, mask_mean=2e-3),
}
