"""The preprocessing contract: how an image becomes the network's input, and its output a mask.

Preprocessing differs between the projects that use U²-Net, and a wrong one looks like a broken export.
So it is data: a named preset, with all its numbers, that travels in the artifact's metadata.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from u2net.runtime.errors import InputError

Kernel = Literal["bilinear", "bicubic", "lanczos"]
"""Resampling kernels, all antialiased, as Pillow defines them."""

Depth = Literal["uint8", "float"]
"""Whether resizing rounds to whole grey levels or keeps fractions."""

Divisor = Literal["max", "255"]
"""What pixel values are divided by: the image's own maximum (after resizing), or 255."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preset:
    """One way to feed a U²-Net. Pixel values are RGB; mean and std apply after the division."""

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
    """Stretch each map to [0, 1] by its own minimum and maximum."""
    invert: bool
    """The network draws the object dark: the mask is one minus the map."""
    mask_kernel: Kernel
    """Kernel that resizes the map to the image's size."""
    stretch_floor: float = 1 / 255
    """A map whose range is at most this is left unstretched: it is flat, and stretching would invent an object."""
    divisor_floor: float = 1e-6
    """Smallest divisor: a black image stays black instead of becoming NaN."""

    def with_size(self, height: int, width: int) -> "Preset":
        """The same contract at another input size."""
        return replace(self, height=height, width=width)

    def as_dict(self) -> dict[str, Any]:
        """All numbers as JSON-ready values, for metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preset":
        """Read :meth:`as_dict` back.

        Raises:
            InputError: a field is missing, unknown or out of range.
        """
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            odd = sorted(set(values) ^ known)
            raise InputError(f"a preset has exactly the fields {sorted(known)}; these differ: {odd}")
        try:
            preset = cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
            preset.check()
        except TypeError as error:
            raise InputError(f"a preset's values are of the wrong kind: {error}") from error
        return preset

    def check(self) -> None:
        """Raise InputError where a value could not be used."""
        for field, allowed in (("kernel", Kernel), ("mask_kernel", Kernel), ("depth", Depth), ("divisor", Divisor)):
            if getattr(self, field) not in get_args(allowed):
                raise InputError(f"preset {field} is {getattr(self, field)!r}; it is one of {get_args(allowed)}")
        if (
            len(self.mean) != 3
            or len(self.std) != 3
            or not all(0 < std < math.inf for std in self.std)
            or not all(map(math.isfinite, self.mean))
        ):
            raise InputError(f"preset mean and std are three numbers each, std above 0; got {self.mean}, {self.std}")
        if not self.stretch_floor >= 0 or not self.divisor_floor > 0:
            raise InputError(
                "preset stretch_floor is at least 0 and divisor_floor above 0; "
                f"got {self.stretch_floor}, {self.divisor_floor}"
            )
        if self.height < 1 or self.width < 1:
            raise InputError(f"preset size is at least 1×1; got {self.height}×{self.width}")


PRESETS = {
    preset.name: preset
    for preset in (
        # The authors' u2net_test.py: float resize, division by the image's maximum, min-max stretch.
        Preset(
            name="reference",
            height=320,
            width=320,
            kernel="bilinear",
            depth="float",
            divisor="max",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            stretch=True,
            invert=False,
            mask_kernel="bilinear",
        ),
        # rembg's U2netSession: LANCZOS, in 8 bit on the way in, division by max(maximum, 1e-6), min-max stretch.
        Preset(
            name="rembg",
            height=320,
            width=320,
            kernel="lanczos",
            depth="uint8",
            divisor="max",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            stretch=True,
            invert=False,
            mask_kernel="lanczos",
        ),
        # The cloth-segmentation checkpoint's inference script: four classes, values in [-1, 1].
        Preset(
            name="cloth",
            height=768,
            width=768,
            kernel="bicubic",
            depth="uint8",
            divisor="255",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            stretch=False,
            invert=False,
            mask_kernel="bicubic",
        ),
        # The authors' u2net_portrait_test.py: strokes are drawn dark on white.
        Preset(
            name="portrait",
            height=512,
            width=512,
            kernel="bilinear",
            depth="float",
            divisor="max",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            stretch=True,
            invert=True,
            mask_kernel="bilinear",
        ),
        # Plain [0, 1] pixels in, plain probabilities out.
        Preset(
            name="raw",
            height=320,
            width=320,
            kernel="bilinear",
            depth="float",
            divisor="255",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            stretch=False,
            invert=False,
            mask_kernel="bilinear",
        ),
    )
}


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise InputError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}") from None
