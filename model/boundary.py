"""Boundary Fβ: accuracy of a mask's outline, to which the other metrics are almost blind."""

import cv2
import numpy as np
import numpy.typing as npt

RADIUS = 3
"""Tolerance in pixels, as in the U²-Net paper."""

BETA_SQUARED = 0.3
"""Weight of precision in Fβ, as papers on salient object detection set it."""

Bits = npt.NDArray[np.bool_]


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
