"""The preprocessing contract: how an image becomes the network's input, and its output a mask.

Projects that use U²-Net preprocess differently, and wrong preprocessing looks like a broken export.
So it is data: a named preset with all its numbers, stored in the artifact's metadata.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from u2net.runtime.errors import InputError
from u2net.runtime.kinds import check_options

Kernel = Literal["bilinear", "bicubic", "lanczos"]
"""Resampling kernels, all antialiased, as Pillow defines them."""

Depth = Literal["uint8", "float"]
"""Resolution of resized pixels: whole grey levels, or fractions of them."""

Divisor = Literal["max", "255"]
"""Divisor of pixel values: the image's own maximum after resizing, or 255."""


@dataclass(frozen=True)
class Preset:
    """One preprocessing contract. Pixel values are RGB; mean and std apply after the division."""

    name: str
    height: int
    """Network input height in pixels."""
    width: int
    """Network input width in pixels."""
    kernel: Kernel
    depth: Depth
    divisor: Divisor
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stretch: bool
    """True to stretch each map to [0, 1] by its own minimum and maximum."""
    invert: bool
    """True for a network that draws the object dark: the mask is one minus the map."""
    mask_kernel: Kernel
    """Kernel that resizes the map to the image's size."""
    stretch_floor: float = 1 / 255
    """A map whose values span no more than this is flat and not stretched: that would invent an object."""
    divisor_floor: float = 1e-6
    """Smallest divisor, so that a black image stays black instead of becoming NaN."""

    def with_size(self, height: int, width: int) -> "Preset":
        return replace(self, height=height, width=width)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preset":
        """Make a preset from its fields. Raise InputError if one is missing or unknown, or if :meth:`check` does."""
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            odd = sorted(set(values) ^ known)
            raise InputError(f"a preset has exactly the fields {sorted(known)}; these differ: {odd}")
        triples = {name: tuple(values[name]) for name in ("mean", "std") if isinstance(values[name], list)}
        preset = cls(**{**values, **triples})
        preset.check()
        return preset

    def check(self) -> None:
        """Raise InputError if a field is of the wrong type or out of range."""
        check_options(self, f"preset {self.name!r}")
        if not all(map(math.isfinite, self.mean)) or not all(0 < std < math.inf for std in self.std):
            raise InputError(f"preset mean is finite and std above 0; got {self.mean}, {self.std}")
        floors = (self.stretch_floor, self.divisor_floor)
        if not self.stretch_floor >= 0 or not self.divisor_floor > 0:
            raise InputError(f"preset stretch_floor is at least 0 and divisor_floor above 0; got {floors}")
        if self.height < 1 or self.width < 1:
            raise InputError(f"preset size is at least 1×1; got {self.height}×{self.width}")


# The authors' u2net_test.py: ImageNet's mean and std, float resize, division by the image's maximum, min-max stretch.
_REFERENCE = Preset(
    name="reference",
    height=320,
    width=320,
    kernel="bilinear",
    depth="float",
    divisor="max",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    stretch=True,
    invert=False,
    mask_kernel="bilinear",
)

PRESETS = {
    preset.name: preset
    for preset in (
        _REFERENCE,
        # rembg's U2netSession: LANCZOS, in 8 bits on the way in, division by max(maximum, 1e-6).
        replace(_REFERENCE, name="rembg", kernel="lanczos", depth="uint8", mask_kernel="lanczos"),
        # The cloth-segmentation checkpoint's inference script: four classes, values in [-1, 1].
        replace(
            _REFERENCE.with_size(768, 768),
            name="cloth",
            kernel="bicubic",
            depth="uint8",
            divisor="255",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            stretch=False,
            mask_kernel="bicubic",
        ),
        # The authors' u2net_portrait_test.py: strokes are drawn dark on white.
        replace(_REFERENCE.with_size(512, 512), name="portrait", invert=True),
        # Plain [0, 1] pixels in, plain probabilities out.
        replace(_REFERENCE, name="raw", divisor="255", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), stretch=False),
    )
}


def find_preset(name: str) -> Preset:
    """Return the preset of that name. Raise InputError if there is none."""
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
