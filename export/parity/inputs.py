"""Inputs of the parity gate: photographs, and images that are hard on arithmetic."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
from PIL import Image

from u2net.runtime.artifact import LARGEST, STEP
from u2net.runtime.backend import Array
from u2net.runtime.errors import ProfileError
from u2net.runtime.preprocess import ByteArray
from u2net.runtime.presets import Preset
from u2net.runtime.session import Session

HARD_SIDE = 320
OTHER_SIZE = (224, 416)
"""Preferred second height and width on which a network of dynamic size is compared."""


@dataclass(frozen=True)
class Probe:
    """One image at one input size."""

    name: str
    image: ByteArray
    preset: Preset
    """Preset for the reference, at the input size."""
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


def image_sets(photographs: Mapping[str, ByteArray], session: Session) -> Iterator[dict[str, ByteArray]]:
    """Yield images for a network that takes images, by name; those of a set can be one batch.

    Each photograph comes with a darker copy, to test the divisor, and again cropped to odd sides, to test the resize.
    """
    for name, photograph in photographs.items():
        image = fit_image(photograph, session)
        yield {name: image, f"{name}, darker": image // 4}
        if session.info.shape.height is None and session.info.shape.width is None:
            height, width = image.shape[:2]
            cut = image[: height - height // 5 | 1, : width - width // 3 | 1]
            yield {f"{name}, cut": fit_image(cut, session)}


def fit_image(image: ByteArray, session: Session) -> ByteArray:
    """Resize an image that a network does not take: to its fixed sides, or to the size that an engine is tuned for."""
    shape, best = session.info.shape, session.info.image_size
    fitted = resize_image(image, shape.height or image.shape[0], shape.width or image.shape[1])
    return fitted if best is None or _takes(session, fitted[None]) else resize_image(image, *best)


def resize_image(image: ByteArray, height: int, width: int) -> ByteArray:
    """Resize an image with Pillow."""
    return np.asarray(Image.fromarray(image).resize((width, height)))


def sized_presets(sessions: Sequence[Session], preset: Preset) -> list[Preset]:
    """Return a preset at the sizes to compare: its own, and another one that every session takes, if there is any.

    Both sizes keep any height or width that a network fixes.
    """
    sides = []
    for name, other in zip(("height", "width"), OTHER_SIZE, strict=True):
        own = getattr(preset, name)
        fixed = [side for each in sessions if (side := getattr(each.info.shape, name))]
        sides.append(fixed[:1] or [other, min(own + STEP, LARGEST), own])
    *others, first = product(*sides)
    empty = {size: np.zeros((1, 3, *size), np.float32) for size in others if size != first}
    second = (size for size, tensor in empty.items() if all(_takes(each, tensor) for each in sessions))
    return [preset.with_size(*size) for size in (first, *islice(second, 1))]


def _takes(session: Session, tensor: Array) -> bool:
    """Tell whether an engine has a profile for an input: by a run, because only the backend knows the profiles."""
    try:
        session.infer(tensor, [session.info.mask_output])
    except ProfileError:
        return False
    return True


def gather_probes(photographs: Mapping[str, ByteArray], presets: Sequence[Preset]) -> list[Probe]:
    """Return the photographs and the hard images at the size of every preset."""
    probes = []
    for preset in presets:
        suffix = f" at {preset.height}×{preset.width}" if len(presets) > 1 else ""
        probes += [Probe(name + suffix, image, preset, False) for name, image in photographs.items()]
        probes += [Probe(name + suffix, image, preset, True) for name, image in hard_images().items()]
    return probes
