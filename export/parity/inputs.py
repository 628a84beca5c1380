"""Inputs of the parity gate: photographs, and images that are hard on arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from u2net.runtime.artifact import InputShape
from u2net.runtime.preprocess import ByteArray
from u2net.runtime.presets import Preset

HARD_SIDE = 320
OTHER_SIZE = (224, 416)
"""Second height and width on which a network of dynamic size is compared."""


@dataclass(frozen=True)
class Probe:
    """One image at one input size."""

    name: str
    image: ByteArray
    height: int
    width: int
    hard: bool
    """True if only differences are judged, because the image shows no object."""


def hard_images() -> dict[str, ByteArray]:
    """Return extreme images that every preset and network must handle, uint8 H×W×3, by name."""
    shape = (HARD_SIDE, HARD_SIDE, 3)
    pixel = np.zeros(shape, np.uint8)
    pixel[HARD_SIDE // 2, HARD_SIDE // 2] = 255
    rng = np.random.default_rng(0)
    return {
        "black": np.zeros(shape, np.uint8),
        "white": np.full(shape, 255, np.uint8),
        "noise": rng.integers(0, 256, shape, dtype=np.uint8),
        "tiny contrast": rng.integers(127, 129, shape, dtype=np.uint8),
        "one lit pixel": pixel,
        "single-pixel image": np.full((1, 1, 3), 200, np.uint8),
    }


def gather_probes(photographs: Mapping[str, ByteArray], preset: Preset, shape: InputShape) -> list[Probe]:
    """Return the photographs and the hard images at every input size that is compared."""
    sizes = [(shape.height or preset.height, shape.width or preset.width)]
    if shape.dynamic_size:
        sizes.append(OTHER_SIZE)
    probes = []
    for height, width in sizes:
        suffix = f" at {height}×{width}" if len(sizes) > 1 else ""
        probes += [Probe(name + suffix, image, height, width, False) for name, image in photographs.items()]
        probes += [Probe(name + suffix, image, height, width, True) for name, image in hard_images().items()]
    return probes
