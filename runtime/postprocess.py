"""Mask out: from the network's map to a mask of the image's own size."""

import numpy as np

from u2net.runtime.errors import ArtifactError, InputError
from u2net.runtime.preprocess import ByteArray, FloatArray, as_pixels, resize_float
from u2net.runtime.presets import Preset

ROUNDING = 1e-3
"""How far a mask's values may lie outside of 0 to 1."""


def postprocess(maps: FloatArray, preset: Preset, height: int, width: int) -> FloatArray:
    """Turn one image's probabilities, float32 C×h×w, into its mask, float32 height×width in [0, 1].

    With several classes the mask is the probability of anything but class 0, the background. Raise ArtifactError if the
    network's output holds NaN or Inf.
    """
    plane = maps[0] if len(maps) == 1 else 1 - maps[0]
    _require_finite(plane)
    if preset.invert:
        plane = 1 - plane
    if preset.stretch:
        low, high = float(plane.min()), float(plane.max())
        if high - low > preset.stretch_floor:
            plane = (plane - np.float32(low)) / np.float32(high - low)
    return np.clip(resize_float(plane, height, width, preset.mask_kernel), 0.0, 1.0)


def scale_masks(masks: FloatArray | ByteArray) -> FloatArray:
    """Return the masks of a network that takes images as float32 in [0, 1]. Raise ArtifactError for NaN or Inf.

    The graph itself does not clip what rounding puts above 1, because OpenVINO's Clip turns NaN into a number.
    """
    if masks.dtype == np.uint8:
        return np.divide(masks, 255, dtype=np.float32)
    _require_finite(masks)
    return np.asarray(np.clip(masks, 0, 1), np.float32)


def _require_finite(values: FloatArray | ByteArray) -> None:
    if not np.isfinite(values).all():
        raise ArtifactError(
            "the network gave NaN or Inf: in an FP16 file an activation overflowed, so export it again with "
            "calibration images like yours, or in FP32; in another file the weights are damaged"
        )


def to_grey(mask: FloatArray) -> ByteArray:
    """Round a mask in [0, 1] to uint8 grey levels. Raise InputError if it is none."""
    if not isinstance(mask, np.ndarray) or not np.issubdtype(mask.dtype, np.floating) or not mask.size:
        found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise InputError(f"a mask is an array of floats, as a session returns it; got {found}")
    if not (mask.min() > -ROUNDING and mask.max() < 1 + ROUNDING):  # false for NaN too
        raise InputError(f"a mask has values from 0 to 1; this one has {mask.min()} to {mask.max()}")
    return (mask.clip(0, 1) * 255).round().astype(np.uint8)


def cut_out(image: object, mask: FloatArray) -> ByteArray:
    """Return an image, anything a session takes, with a mask, float32 H×W in [0, 1], as its alpha: uint8 H×W×4.

    The image's own alpha is multiplied by the mask, so what is transparent stays so. Raise InputError if the image
    cannot be used, or the mask is none or of another size.
    """
    pixels = as_pixels(image)
    if np.shape(mask) != pixels.shape[:2]:
        raise InputError(f"the mask is {np.shape(mask)}, the image {pixels.shape[:2]} pixels high and wide")
    opacity = pixels[:, :, 3] / np.float32(255) if pixels.shape[2] == 4 else np.float32(1)
    return np.dstack([pixels[:, :, :3], to_grey(mask * opacity)])
