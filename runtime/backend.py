"""The seam between a session and whatever runs the network: one thin file per backend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from u2net.runtime.artifact import Artifact, InputShape, Precision
from u2net.runtime.errors import ArtifactError, InputError

FLOATS = {"f32": np.float32, "f16": np.float16}
"""Accepted types of a network's inputs and outputs; FP16 is converted from and to float32."""

NUMBERS = {**FLOATS, "u8": np.uint8}
"""Accepted types of all inputs and outputs: a graph that takes images takes bytes, and may give bytes."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class InputSpec:
    """What a network takes: float32 N×3×H×W, or uint8 images N×H×W×3."""

    shape: InputShape
    images: bool = False
    """Whether it takes images."""
    best_size: tuple[int, int] | None = None
    """Height and width that an engine's first profile is tuned for; None for other backends."""

    def __str__(self) -> str:
        return "uint8 array N×H×W×3" if self.images else "float32 array N×3×H×W"

    def check(self, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        """Raise InputError unless an array is an input as far as type, dimensions, batch and channels go."""
        if not self._takes(shape, dtype):
            hint = "; array[None] makes it a batch of one" if self._takes((1, *shape), dtype) else ""
            raise InputError(f"infer takes a {self}; got {np.dtype(dtype)} {tuple(shape)}{hint}")

    def check_size(self, shape: Sequence[int], where: object = "the network") -> None:
        """Raise InputError if the network does not take the size of an array that is an input, or so many images."""
        if self.images:
            self.shape.check_image(shape[1], shape[2], where)
        else:
            self.shape.check_size(shape[2], shape[3], where)
        if self.shape.batch is not None and shape[0] > self.shape.batch:
            raise InputError(f"the network takes 1 to {self.shape.batch} images at once; got {shape[0]}")

    def _takes(self, shape: Sequence[int], dtype: npt.DTypeLike) -> bool:
        channels = 3 if self.images else 1
        return np.dtype(dtype) == self.dtype and len(shape) == 4 and shape[0] >= 1 and shape[channels] == 3

    @property
    def dtype(self) -> type[np.float32] | type[np.uint8]:
        return np.uint8 if self.images else np.float32

    @property
    def takes_any_image(self) -> bool:
        """Whether it takes images of any size."""
        return self.images and self.shape.height is None


class Backend(Protocol):
    """A loaded network. ``run`` may be called from many threads at once; its resources are freed with the object."""

    name: str
    """Library and version, for people."""
    provider: str
    """The hardware or execution provider that really runs the network."""
    input: InputSpec
    outputs: tuple[str, ...]
    """Names of all outputs, in order."""

    @property
    def contexts(self) -> int | None:
        """Largest number of runs at once, in an engine per profile; further threads wait. None if there is no bound."""

    @property
    def precision(self) -> Precision | None:
        """Precision that the backend computes in, where the file's metadata cannot tell; else None."""

    @property
    def artifact(self) -> Artifact | None:
        """Metadata of the file; None if this project did not export it."""

    def batch_limit(self, height: int, width: int) -> int | None:
        """Largest batch at this size; None if only memory limits it. Raise ProfileError if an engine lacks the size."""

    def run(self, tensor: Array, outputs: Sequence[str]) -> Mapping[str, Array]:
        """Run a C-contiguous batch of :attr:`input`, and return the named outputs in arrays of the caller's own.

        They are float32 N×C×H×W or, from a graph that takes images, float32 or uint8 N×H×W.

        Only the named outputs are copied, though an engine computes all. Zeros pad the batch to one that is fixed.
        """


class TensorInfo(NamedTuple):
    """A graph's input or output."""

    name: str
    kind: str
    """``f32``, ``f16``, ``u8``, or a type that cannot be used."""
    shape: Sequence[int | str | None]
    """Sides; anything but a number is dynamic."""


def find_input(what: Path | str, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> InputSpec:
    """Return what a graph takes. Raise ArtifactError if its inputs and outputs are not those of a U²-Net."""
    sides = [side if isinstance(side, int) else None for side in inputs[0].shape] if len(inputs) == 1 else []
    if len(sides) == 4 and inputs[0].kind == "u8" and sides[3] == 3:
        wrong = [each for each in outputs if each.kind not in ("f32", "u8") or len(each.shape) != 3]
        spec, wanted = InputSpec(InputShape(sides[0], sides[1], sides[2]), images=True), "float or uint8 N×H×W"
    elif len(sides) == 4 and inputs[0].kind in FLOATS and sides[1] == 3:
        wrong = [each for each in outputs if each.kind not in FLOATS or len(each.shape) != 4]
        spec, wanted = InputSpec(InputShape(sides[0], sides[2], sides[3])), "float N×C×H×W"
    else:
        found = ", ".join(f"{each.name}: {each.kind} {each.shape}" for each in inputs) or "missing"
        raise ArtifactError(
            f"{what} is not a U²-Net: its input is {found}, not one float N×3×H×W or, of images, uint8 N×H×W×3"
        )
    if not outputs or 0 in sides:
        raise ArtifactError(f"{what} is not a U²-Net: it has an empty input or no output")
    for name, kind, shape in wrong:
        raise ArtifactError(f"{what} is not a U²-Net: its output {name} is {kind} {shape}, not {wanted}")
    return spec


def padded(tensor: Array, batch: int | None) -> Array:
    """Return a batch with zeros up to the size that a graph declares, or as it is if that is dynamic."""
    missing = (batch or len(tensor)) - len(tensor)
    return np.pad(tensor, [(0, missing), (0, 0), (0, 0), (0, 0)]) if missing else tensor


def widened(values: Array) -> Array:
    """Return FP16 as float32, and other values as they are."""
    return values.astype(np.float32) if values.dtype == np.float16 else values


@runtime_checkable
class DeviceBackend(Protocol):
    """A backend that also takes and returns arrays in its device's memory, without a copy."""

    def run_on_device(
        self, tensor: object, outputs: Sequence[str] | Mapping[str, object], stream: int | None
    ) -> Mapping[str, object]:
        """See :meth:`u2net.runtime.session.Session.infer`."""
