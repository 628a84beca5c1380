"""Limits on how much a stage may differ from its reference; docs/parity.md gives the reasons."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Limits of one precision. A figure equal to its limit passes."""

    largest: float
    """Largest absolute difference of a probability, on any pixel of any image."""
    mean: float
    """Mean absolute difference of probabilities, over all images."""
    logit_mean: float
    """Mean absolute difference of logits, over all images."""
    iou: float
    """Smallest pooled IoU at 0.5."""
    mask_largest: float
    """Largest absolute difference of a mask's value."""
    mask_mean: float
    """Mean absolute difference of masks."""

    def __str__(self) -> str:
        """One sentence for a reader of the figures."""
        return (
            f"probabilities {self.largest:.0e} at most and {self.mean:.0e} on average, logits {self.logit_mean:.0e} on "
            f"average, masks {self.mask_largest:.0e} and {self.mask_mean:.0e}, IoU {self.iou}"
        )


FEW_PIXELS = 4
"""Number of pixels that may change sides at 0.5 whatever the IoU; on a small object one pixel can exceed its limit."""

TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(largest=5e-5, mean=3e-7, logit_mean=1e-4, iou=0.9999, mask_largest=1e-3, mask_mean=1e-5),
    "fp32 on a GPU": Tolerance(largest=1e-4, mean=1e-6, logit_mean=1e-4, iou=0.9999, mask_largest=1e-3, mask_mean=1e-5),
    "fp16": Tolerance(largest=5e-2, mean=1e-3, logit_mean=5e-2, iou=0.997, mask_largest=1e-1, mask_mean=2e-3),
    "bf16": Tolerance(largest=1e-1, mean=3e-3, logit_mean=1e-1, iou=0.99, mask_largest=2e-1, mask_mean=5e-3),
    "int8": Tolerance(largest=1.0, mean=1e-2, logit_mean=1.5, iou=0.95, mask_largest=1.0, mask_mean=1e-2),
}


def find_tolerance(precision: str, device_kind: str) -> Tolerance:
    """Return the limits of a precision on a kind of device, ``cpu`` or ``cuda``."""
    return TOLERANCES["fp32 on a GPU" if (precision, device_kind) == ("fp32", "cuda") else precision]
