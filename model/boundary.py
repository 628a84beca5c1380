"""Boundary F: how well the outline of a mask is met, which the other metrics hardly see."""

import cv2
import numpy as np
import numpy.typing as npt

RADIUS = 3
"""Pixels by which an outline may be off, as in the U²-Net paper."""

BETA_SQUARED = 0.3

Bits = npt.NDArray[np.bool_]


def boundary_f(prediction: Bits, truth: Bits) -> float:
    """Relaxed boundary Fβ of a binary mask, bool H×W, from 0 to 1.

    Precision is the share of the predicted outline that lies within :data:`RADIUS` pixels of the true one, recall
    the reverse. Two masks without outline agree; one without disagrees wholly with one that has one.
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
    """The object's pixels that touch the background; the picture's own edge is none."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mask & (inner == 0))


def _near(line: Bits) -> Bits:
    distance = cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= RADIUS)
