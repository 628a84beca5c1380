"""Pictures that every contestant is fed."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from u2net.benchmarks.suite.contestants import Contestant
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.model.synthetic import make_scene, make_scenes
from u2net.runtime.backend import Array
from u2net.runtime.images import find_images, read_image
from u2net.runtime.preprocess import ByteArray, FloatArray, as_rgb_batch, preprocess_batch
from u2net.runtime.presets import PRESETS

PICTURE_SIZES = ((512, 512), (1080, 1920), (3000, 4000))
"""Height and width of the pictures that are timed from file to mask."""

SCENE_COUNT = 8
"""Number of synthetic scenes if there are no photographs."""

MOST_PHOTOGRAPHS = 16

MAPS_KEPT = 3
"""Number of photographs whose maps are kept, to be shown."""


@dataclass(frozen=True)
class Inputs:
    """What every contestant is fed."""

    photographs: FloatArray
    """Preprocessed, P×3×H×W."""
    encoded: dict[tuple[int, int], bytes]
    """An encoded picture by height and width, for the times from picture to mask."""
    shown: Sequence[ByteArray] = ()
    """The first photographs as they are, to be shown."""
    images: ByteArray = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))
    """The same photographs for networks that take images, P×H×W×3; empty if none does."""

    def of(self, contestant: Contestant) -> Array:
        """Return the photographs as a contestant takes them."""
        return self.images if contestant.takes_images else self.photographs

    @property
    def middle(self) -> bytes:
        """The encoded picture of the middle size; a worker decodes it once for all callers."""
        return self.encoded[middle_size(self.encoded)]


def middle_size(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Return the middle one of some sizes of pictures."""
    ordered = sorted(sizes)
    return ordered[len(ordered) // 2]


def repeat_to(photographs: Array, count: int) -> Array:
    """Return a batch of that many photographs, different ones as far as there are enough."""
    return np.resize(photographs, (count, *photographs.shape[1:]))


def encode_picture(image: ByteArray, height: int, width: int) -> bytes:
    """Resize a picture and encode it as JPEG."""
    stream = io.BytesIO()
    Image.fromarray(image).resize((width, height)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def gather_inputs(options: SuiteOptions) -> tuple[Inputs, str]:
    """Return photographs or synthetic scenes, and what they are in words."""
    if options.images is None:
        images, what = make_scenes(SCENE_COUNT), f"{SCENE_COUNT} synthetic scenes"
    else:
        paths = find_images(options.images)[:MOST_PHOTOGRAPHS]
        images, what = as_rgb_batch([read_image(path) for path in paths]), f"{len(paths)} photographs"
    pictures = {size: images[0] if options.images else make_scene(0, *size)[0] for size in PICTURE_SIZES}
    encoded = {size: encode_picture(image, *size) for size, image in pictures.items()}
    sides = options.size, options.size
    small = np.stack([np.asarray(Image.fromarray(image).resize(sides, Image.Resampling.BILINEAR)) for image in images])
    tensor = preprocess_batch(list(small), PRESETS["reference"].with_size(*sides))
    return Inputs(tensor, encoded, images[:MAPS_KEPT], small), what
