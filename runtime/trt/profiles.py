"""Optimization profiles: the input shapes that an engine takes, and the one it is tuned for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from u2net.runtime.artifact import InputShape
from u2net.runtime.errors import InputError
from u2net.runtime.presets import Preset

Shape = tuple[int, int, int, int]
"""N, channels, height, width."""

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
    """Ranges of a network's input, N×3×height×width."""

    batch: Span
    height: Span
    width: Span

    def takes(self, height: int, width: int) -> bool:
        return height in self.height and width in self.width

    def shapes(self) -> tuple[Shape, Shape, Shape]:
        """Smallest, optimal and largest shape."""
        batch, height, width = self.batch, self.height, self.width
        return (
            (batch.low, 3, height.low, width.low),
            (batch.best, 3, height.best, width.best),
            (batch.high, 3, height.high, width.high),
        )

    @classmethod
    def from_shapes(cls, shapes: Sequence[Sequence[int]]) -> "Profile":
        batch, _, height, width = (Span(*values) for values in zip(*shapes, strict=True))
        return cls(batch, height, width)

    def __str__(self) -> str:
        return f"batch {self.batch}, height {self.height}, width {self.width}"


@dataclass(frozen=True)
class ProfileRequest:
    """Requested ranges of batch and size, paired into profiles.

    A single range is paired with every range of the other kind. Without any, the default applies.
    """

    batches: tuple[Span, ...] = ()
    sizes: tuple[SizeSpan, ...] = ()

    def resolve(self, shape: InputShape, preset: Preset | None) -> tuple[Profile, ...]:
        """Profiles for a graph with this input shape.

        The default is the graph's own batch and size; a dynamic batch becomes 1:1:8, a dynamic size the preset's.
        Raise InputError if the graph does not allow a requested range, or the ranges cannot be paired.
        """
        batches = self.batches or (DEFAULT_BATCH if shape.batch is None else Span.only(shape.batch),)
        sizes = self.sizes or (_own_size(shape, preset),)
        count = max(len(batches), len(sizes))
        if {len(batches), len(sizes)} - {1, count}:
            raise InputError(
                f"{len(batches)} batch ranges and {len(sizes)} size ranges cannot be paired; give the same number"
            )
        batches, sizes = batches * (count // len(batches)), sizes * (count // len(sizes))
        profiles = tuple(Profile(batch, size.height, size.width) for batch, size in zip(batches, sizes, strict=True))
        for profile in profiles:
            _check(profile, shape)
        return profiles


def byte_count(shape: Shape) -> int:
    """Bytes of a float32 tensor, the type of every input and output."""
    return 4 * math.prod(shape)


def four_sides(sides: Sequence[int]) -> Shape:
    """A shape object of TensorRT as four plain numbers."""
    batch, channels, height, width = (int(side) for side in sides)
    return batch, channels, height, width


def declared_shape(sides: Sequence[int]) -> InputShape:
    """Input shape of a graph or engine; a negative side is dynamic."""
    batch, _, height, width = (None if side < 0 else side for side in four_sides(sides))
    return InputShape(batch, height, width)


def profiled_shape(profiles: Sequence[Profile]) -> InputShape:
    """Input shape of an engine: a side that has the same single value in all profiles is fixed, another is dynamic."""
    sides = zip(*(shape for profile in profiles for shape in profile.shapes()), strict=True)
    batch, _, height, width = (values[0] if len(set(values)) == 1 else None for values in sides)
    return InputShape(batch, height, width)


def _own_size(shape: InputShape, preset: Preset | None) -> SizeSpan:
    height = shape.height or (preset.height if preset else None)
    width = shape.width or (preset.width if preset else None)
    if height is None or width is None:
        raise InputError("the graph takes any size and has no preset to say which; name it with --size MIN:OPT:MAX")
    return SizeSpan(Span.only(height), Span.only(width))


def _check(profile: Profile, shape: InputShape) -> None:
    wanted = (("batch", profile.batch, shape.batch), ("height", profile.height, shape.height))
    for what, span, fixed in (*wanted, ("width", profile.width, shape.width)):
        if fixed is not None and span != Span.only(fixed):
            raise InputError(
                f"the graph's {what} is fixed at {fixed}, so the engine cannot be built for {span}; "
                f"export it with --{'batch' if what == 'batch' else 'size'} dynamic"
            )
    for _, _, height, width in profile.shapes():
        shape.check_size(height, width)
