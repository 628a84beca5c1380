"""Images for calibration and verification: the user's own, or seeded synthetic scenes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from u2net.model.synthetic import make_scenes
from u2net.runtime.artifact import Artifact
from u2net.runtime.images import find_images, read_image
from u2net.runtime.preprocess import ByteArray, FloatArray, preprocess

CALIBRATION_SCENES = 8
"""Number of synthetic scenes that are used if no images are given."""

MAX_IMAGES = 32
"""Default of the most pictures taken from a folder: all are in memory at once, and every stage runs on each."""


def gather_images(folder: str | Path | None, most: int = MAX_IMAGES) -> dict[str, ByteArray]:
    """Return at most ``most`` evenly spaced pictures of a folder by file name, or synthetic scenes.

    Raise InputError if the folder is missing or has no readable picture.
    """
    if folder is None:
        return {f"scene {index}": scene for index, scene in enumerate(make_scenes(CALIBRATION_SCENES))}
    paths = find_images(folder)
    count = min(len(paths), most)
    spaced = (paths[index * len(paths) // count] for index in range(count))
    return {path.name: read_image(path) for path in spaced}


def make_tensors(artifact: Artifact, images: Sequence[ByteArray]) -> list[FloatArray]:
    """Preprocess each image for the artifact: float32 N×3×H×W, where N is its fixed batch or 1."""
    return [np.repeat(preprocess(image, artifact.preset), artifact.shape.batch or 1, axis=0) for image in images]
