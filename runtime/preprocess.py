"""Image in: from uint8 pixels of any size to the float32 tensor that a preset describes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from u2net.runtime.errors import InputError
from u2net.runtime.presets import Kernel, Preset

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

RESAMPLING: dict[Kernel, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def as_rgb(image: object) -> ByteArray:
    """Check an image and give it as uint8 H×W×3 RGB, contiguous.

    Accepts uint8 arrays H×W×3 (RGB), H×W (grey) and H×W×4 (RGBA, its alpha left out), contiguous or not.

    Raises:
        InputError: anything else; the message says what it got.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(f"an image is a NumPy array of uint8; got {type(image).__name__}")
    if image.dtype != np.uint8:
        raise InputError(f"an image holds uint8 values from 0 to 255; got {image.dtype} of shape {image.shape}")
    if image.size == 0:
        raise InputError(f"an image has at least one pixel; got shape {image.shape}")
    if image.ndim == 2:
        return np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim == 3 and image.shape[2] in (3, 4):
        return np.ascontiguousarray(image[:, :, :3])
    raise InputError(f"an image is H×W×3, H×W×4 or H×W; got shape {image.shape}")


def resize_float(plane: FloatArray, height: int, width: int, kernel: Kernel) -> FloatArray:
    """Resize one float32 H×W plane without rounding to grey levels."""
    if plane.shape == (height, width):
        return plane
    picture = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(picture.resize((width, height), RESAMPLING[kernel]), dtype=np.float32)


def resize_rgb(image: ByteArray, preset: Preset) -> FloatArray:
    """Resize uint8 H×W×3 to the preset's size; float32 values from 0 to 255."""
    height, width = preset.height, preset.width
    if preset.depth == "uint8":
        picture = Image.fromarray(image).resize((width, height), RESAMPLING[preset.kernel])
        return np.asarray(picture, dtype=np.float32)
    planes = [resize_float(image[:, :, band].astype(np.float32), height, width, preset.kernel) for band in range(3)]
    return np.stack(planes, axis=2)


def normalize(pixels: FloatArray, preset: Preset, out: FloatArray | None = None) -> FloatArray:
    """Divide, subtract the mean, divide by the std: float32 H×W×3 in 0…255 to float32 3×H×W, into ``out`` if given."""
    divisor = max(float(pixels.max()), preset.divisor_floor) if preset.divisor == "max" else 255.0
    scale = 1.0 / (divisor * np.array(preset.std))
    offset = -np.array(preset.mean) / np.array(preset.std)
    if out is None:
        out = np.empty((3, *pixels.shape[:2]), np.float32)
    np.multiply(pixels.transpose(2, 0, 1), scale.astype(np.float32)[:, None, None], out=out)
    out += offset.astype(np.float32)[:, None, None]
    return out


def preprocess(image: object, preset: Preset) -> FloatArray:
    """One image to the network's input, float32 1×3×height×width.

    Statistics are the image's own, so that nothing else in a batch changes them.

    Raises:
        InputError: see :func:`as_rgb`.
    """
    return normalize(resize_rgb(as_rgb(image), preset), preset)[None]


def preprocess_batch(images: Sequence[object], preset: Preset) -> FloatArray:
    """Several images of any sizes to float32 N×3×height×width."""
    tensor = np.empty((len(images), 3, preset.height, preset.width), np.float32)
    preprocess_into(tensor, images, preset)
    return tensor


def preprocess_into(tensor: FloatArray, images: Sequence[object], preset: Preset) -> None:
    """Like :func:`preprocess_batch`, into memory that is there already."""
    for row, image in zip(tensor, images, strict=True):
        normalize(resize_rgb(as_rgb(image), preset), preset, out=row)
