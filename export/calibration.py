"""Images on which a graph is tried: the user's own, or seeded synthetic scenes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from u2net.model.synthetic import make_scenes
from u2net.runtime.artifact import Artifact
from u2net.runtime.images import find_images, read_image
from u2net.runtime.preprocess import ByteArray, FloatArray, preprocess

SCENES = 8
"""How many synthetic scenes stand in where no images are given."""

MOST = 32
"""How many pictures of a folder are taken: all are in memory at once, and each goes through each stage."""


def gather_images(folder: Path | None) -> dict[str, ByteArray]:
    """Pictures of a folder by file name, at most :data:`MOST`, evenly spaced; or the seeded synthetic scenes.

    Raises:
        InputError: the folder is missing or holds no readable picture.
    """
    if folder is None:
        return {f"scene {index}": scene for index, scene in enumerate(make_scenes(SCENES))}
    paths = find_images(folder)
    count = min(len(paths), MOST)
    spaced = (paths[index * len(paths) // count] for index in range(count))
    return {path.name: read_image(path) for path in spaced}


def input_tensors(artifact: Artifact, images: Sequence[ByteArray]) -> list[FloatArray]:
    """Each image as the artifact takes it, float32 N×3×H×W with N its fixed batch or 1."""
    preset = artifact.preset
    height, width = artifact.shape.height or preset.height, artifact.shape.width or preset.width
    tensors = (preprocess(image, preset.with_size(height, width)) for image in images)
    return [np.repeat(tensor, artifact.shape.batch or 1, axis=0) for tensor in tensors]
