"""Seeded synthetic scenes, a few shapes on a textured background, with masks: for tests and for trials without data."""

import cv2
import numpy as np
import numpy.typing as npt

from u2net.runtime.preprocess import ByteArray


def make_scene(seed: int, height: int = 320, width: int = 320) -> tuple[ByteArray, ByteArray]:
    """Return the scene of a seed, uint8 H×W×3 RGB, and its mask, uint8 H×W of 0 and 255."""
    rng = np.random.default_rng(seed)
    image = _background(rng, height, width)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        shape = _shape(rng, height, width)
        colour = rng.integers(0, 256, 3).astype(np.float32)
        shade = np.linspace(1.0, rng.uniform(0.5, 1.0), width, dtype=np.float32)[None, :, None]
        inside = shape[:, :, None] > 0
        image = np.where(inside, colour * shade, image)
        mask |= shape
    noisy = image + rng.normal(0, rng.uniform(1, 6), image.shape)
    softened = cv2.GaussianBlur(np.clip(noisy, 0, 255).astype(np.uint8), (3, 3), 0)
    return np.asarray(softened, np.uint8), mask


def _background(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return smooth colour noise."""
    coarse = rng.integers(40, 216, (rng.integers(2, 6), rng.integers(2, 6), 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _shape(rng: np.random.Generator, height: int, width: int) -> ByteArray:
    """Draw an ellipse or a polygon near the middle; its radius is 10 % to 25 % of the shorter side."""
    canvas = np.zeros((height, width), np.uint8)
    centre = (int(width * rng.uniform(0.3, 0.7)), int(height * rng.uniform(0.3, 0.7)))
    radius = min(height, width) * rng.uniform(0.1, 0.25)
    if rng.random() < 0.5:
        axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.5, 1.0))))
        cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, thickness=-1)
        return canvas
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius + centre
    cv2.fillPoly(canvas, [corners.astype(np.int32)], 255)
    return canvas


def make_scenes(count: int) -> list[ByteArray]:
    """Return the images of several scenes, uint8 320×320×3 RGB."""
    return [make_scene(seed)[0] for seed in range(count)]
