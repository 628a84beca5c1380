"""Scores of saliency maps: those of PySODMetrics, the standard library of the field, and boundary Fβ."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

RADIUS = 3
"""Tolerance in pixels, as in the U²-Net paper."""

BETA_SQUARED = 0.3
"""Weight of precision in Fβ, as papers on salient object detection set it."""

Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SaliencyScores:
    """Means over pictures, all from 0 to 1."""

    pictures: int
    mae: float
    """Mean absolute error, the only score where lower is better."""
    max_f: float
    """Largest, over 256 thresholds, of Fβ averaged over the pictures."""
    mean_f: float
    """Mean over the 256 thresholds."""
    weighted_f: float
    """Fβ with errors weighted by their location (Margolin et al.), β² = 1."""
    s_measure: float
    """Structural similarity, of regions and of objects in equal parts (Fan et al.)."""
    e_measure: float
    """Enhanced alignment (Fan et al.), mean over the 256 thresholds."""
    iou: float
    """Intersection over union at threshold 0.5, averaged over the pictures."""
    boundary_f: float
    """Relaxed Fβ of the outline at threshold 0.5, averaged over the pictures."""


class SaliencyMeter:
    """Collects maps one by one and scores them.

    As usual in the field, each map is first stretched to [0, 1] by its own minimum and maximum.
    """

    def __init__(self) -> None:
        from py_sod_metrics import MAE, Emeasure, FmeasureHandler, FmeasureV2, IOUHandler, Smeasure, WeightedFmeasure

        self._mae = MAE()
        self._structure = Smeasure()
        self._alignment = Emeasure()
        self._weighted = WeightedFmeasure()
        self._handlers = FmeasureV2(
            {
                "f": FmeasureHandler(with_dynamic=True, with_adaptive=False, beta=BETA_SQUARED),
                "iou": IOUHandler(with_dynamic=False, with_adaptive=False, with_binary=True, sample_based=True),
            }
        )
        self._boundaries: list[float] = []

    def add(self, prediction: npt.NDArray[np.float32], truth: npt.NDArray[np.uint8]) -> None:
        """Add one map, float32 H×W in [0, 1], with its mask, uint8 H×W from 0 to 255."""
        from py_sod_metrics.utils import prepare_data

        stretched, wanted = prepare_data((prediction * 255).round().astype(np.uint8), truth)
        for measure in (self._mae, self._structure, self._alignment, self._weighted, self._handlers):
            measure.step(stretched, wanted, normalize=False)
        self._boundaries.append(boundary_f(stretched > 0.5, wanted))

    def scores(self) -> SaliencyScores:
        """Return the scores of the maps added so far, at least one."""
        results = self._handlers.get_results()
        dynamic = results["f"]["dynamic"]
        return SaliencyScores(
            pictures=len(self._boundaries),
            mae=float(self._mae.get_results()["mae"]),
            max_f=float(dynamic.max()),
            mean_f=float(dynamic.mean()),
            weighted_f=float(self._weighted.get_results()["wfm"]),
            s_measure=float(self._structure.get_results()["sm"]),
            e_measure=float(self._alignment.get_results()["em"]["curve"].mean()),
            iou=float(results["iou"]["binary"]),
            boundary_f=float(np.mean(self._boundaries)),
        )


def boundary_f(prediction: Bits, truth: Bits) -> float:
    """Return the relaxed boundary Fβ of a binary mask, bool H×W, from 0 to 1.

    Precision is the share of the predicted outline that lies within :data:`RADIUS` pixels of the true one, recall
    the reverse. The score is 1 where neither mask has an outline, and 0 where only one has.
    """
    found, wanted = outline(prediction), outline(truth)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    precision = float(_near(wanted)[found].mean())
    recall = float(_near(found)[wanted].mean())
    if precision + recall == 0:
        return 0.0
    return (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)


def outline(mask: Bits) -> Bits:
    """Return the object's pixels that touch the background; the edge of the picture does not count as background."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mask & (inner == 0))


def _near(line: Bits) -> Bits:
    distance = cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= RADIUS)
