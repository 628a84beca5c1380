"""Optimization profiles: the input shapes that an engine takes, and the one it is tuned for."""

from collections.abc import Sequence
from dataclasses import dataclass

from u2net.runtime.artifact import InputShape
from u2net.runtime.errors import InputError
from u2net.runtime.presets import Preset

Shape = tuple[int, ...]
"""Sides of a tensor: N×C×H×W, of images N×H×W×3, of their masks N×H×W."""

LARGEST_VALUE = 1 << 14
"""Largest batch, height or width. With larger ones TensorRT miscounts the values of a tensor."""


@dataclass(frozen=True)
class Span:
    """Smallest, optimal and largest value of a dimension."""

    low: int
    best: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.best <= self.high <= LARGEST_VALUE:
            raise InputError(f"a range is MIN:OPT:MAX with 1 ≤ MIN ≤ OPT ≤ MAX ≤ {LARGEST_VALUE}; got {self}")

    @classmethod
    def only(cls, value: int) -> "Span":
        return cls(value, value, value)

    def __contains__(self, value: int) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}:{self.best}:{self.high}"


DEFAULT_BATCH = Span(1, 1, 8)


@dataclass(frozen=True)
class SizeSpan:
    """Ranges of height and width in pixels."""

    height: Span
    width: Span


@dataclass(frozen=True)
class Profile:
    """Ranges of a network's input, N×3×height×width, or images, N×height×width×3."""

    batch: Span
    height: Span
    width: Span
    images: bool = False

    def takes(self, height: int, width: int) -> bool:
        return height in self.height and width in self.width

    def shapes(self) -> tuple[Shape, Shape, Shape]:
        """Smallest, optimal and largest shape."""
        batch, height, width = self.batch, self.height, self.width
        return (
            self.shape(batch.low, height.low, width.low),
            self.shape(batch.best, height.best, width.best),
            self.shape(batch.high, height.high, width.high),
        )

    def shape(self, batch: int, height: int, width: int) -> Shape:
        """Shape of the input."""
        return (batch, height, width, 3) if self.images else (batch, 3, height, width)

    @classmethod
    def from_shapes(cls, shapes: Sequence[Sequence[int]], *, images: bool = False) -> "Profile":
        batch, height, width = zip(*(sides_of(each, images=images) for each in shapes), strict=True)
        return cls(Span(*batch), Span(*height), Span(*width), images)

    def __str__(self) -> str:
        return f"batch {self.batch}, height {self.height}, width {self.width}"


@dataclass(frozen=True)
class ProfileRequest:
    """Requested ranges of batch and size, paired into profiles.

    A single range is paired with every range of the other kind. Without any, the default applies.
    """

    batches: tuple[Span, ...] = ()
    sizes: tuple[SizeSpan, ...] = ()

    def resolve(self, shape: InputShape, preset: Preset | None, *, images: bool = False) -> tuple[Profile, ...]:
        """Profiles for a graph with this input shape, of images or of tensors.

        The default is the graph's own batch and size; a dynamic batch becomes 1:1:8, a dynamic size the preset's.
        Raise InputError if the graph does not allow a requested range, or the ranges cannot be paired.
        """
        batches = self.batches or (DEFAULT_BATCH if shape.batch is None else Span.only(shape.batch),)
        sizes = self.sizes or (_own_size(shape, None if images else preset),)
        count = max(len(batches), len(sizes))
        if {len(batches), len(sizes)} - {1, count}:
            raise InputError(
                f"{len(batches)} batch ranges and {len(sizes)} size ranges cannot be paired; give the same number"
            )
        batches, sizes = batches * (count // len(batches)), sizes * (count // len(sizes))
        paired = zip(batches, sizes, strict=True)
        profiles = tuple(Profile(batch, size.height, size.width, images) for batch, size in paired)
        for profile in profiles:
            _check(profile, shape)
        return profiles


def sides_of(shape: Sequence[int], *, images: bool) -> tuple[int, int, int]:
    """Batch, height and width of an input."""
    batch, *sides = (int(side) for side in shape)
    height, width = sides[:2] if images else sides[1:]
    return batch, height, width


def declared_shape(shape: Sequence[int], *, images: bool = False) -> InputShape:
    """Input shape that a graph declares; a negative side is dynamic."""
    batch, height, width = (None if side < 0 else side for side in sides_of(shape, images=images))
    return InputShape(batch, height, width)


def profiled_shape(profiles: Sequence[Profile]) -> InputShape:
    """Input shape of an engine: a side that has the same single value in all profiles is fixed, another is dynamic."""
    spans = zip(*((each.batch, each.height, each.width) for each in profiles), strict=True)
    values = ({value for span in each for value in (span.low, span.high)} for each in spans)
    batch, height, width = (each.pop() if len(each) == 1 else None for each in values)
    return InputShape(batch, height, width)


def _own_size(shape: InputShape, preset: Preset | None) -> SizeSpan:
    height = shape.height or (preset.height if preset else None)
    width = shape.width or (preset.width if preset else None)
    if height is None or width is None:
        raise InputError("the graph takes any size, so say which the engine is for with --size MIN:OPT:MAX")
    return SizeSpan(Span.only(height), Span.only(width))


def _check(profile: Profile, shape: InputShape) -> None:
    wanted = (("batch", profile.batch, shape.batch), ("height", profile.height, shape.height))
    for what, span, fixed in (*wanted, ("width", profile.width, shape.width)):
        if fixed is not None and span != Span.only(fixed):
            remedy = "without --source" if profile.images else "with --size dynamic"
            remedy = "with --batch dynamic" if what == "batch" else remedy
            raise InputError(
                f"the graph's {what} is fixed at {fixed}, so the engine cannot be built for {span}; export it {remedy}"
            )
    for each in () if profile.images else profile.shapes():
        shape.check_size(*each[2:])
