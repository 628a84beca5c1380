"""MAE, max-Fβ and IoU of saliency maps, through PySODMetrics, the standard library of the field."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BETA_SQUARED = 0.3
"""Weight of precision in Fβ, as the salient-object-detection papers set it."""


@dataclass(frozen=True)
class SaliencyScores:
    """Means over pictures; all from 0 to 1."""

    pictures: int
    mae: float
    """Mean absolute error; lower is better."""
    max_f: float
    """Largest, over 256 thresholds, of Fβ averaged over the pictures."""
    iou: float
    """Intersection over union at threshold 0.5, averaged over the pictures."""


class SaliencyMeter:
    """Collects maps one by one and gives their scores.

    As is usual in the field, each map is first stretched to [0, 1] by its own minimum and maximum.
    """

    def __init__(self) -> None:
        from py_sod_metrics import MAE, FmeasureHandler, FmeasureV2, IOUHandler

        self._mae = MAE()
        self._handlers = FmeasureV2(
            {
                "f": FmeasureHandler(with_dynamic=True, with_adaptive=False, beta=BETA_SQUARED),
                "iou": IOUHandler(with_dynamic=False, with_adaptive=False, with_binary=True, sample_based=True),
            }
        )
        self._pictures = 0

    def add(self, prediction: npt.NDArray[np.float32], truth: npt.NDArray[np.uint8]) -> None:
        """Take one map: float32 H×W in [0, 1], and its mask: uint8 H×W from 0 to 255."""
        grey = (prediction * 255).round().astype(np.uint8)
        self._mae.step(grey, truth)
        self._handlers.step(grey, truth)
        self._pictures += 1

    def scores(self) -> SaliencyScores:
        """Scores of what was added so far; at least one picture."""
        results = self._handlers.get_results()
        return SaliencyScores(
            pictures=self._pictures,
            mae=float(self._mae.get_results()["mae"]),
            max_f=float(results["f"]["dynamic"].max()),
            iou=float(results["iou"]["binary"]),
        )
