"""The seam between a session and whatever runs the network: one thin file per backend."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from u2net.runtime.artifact import Artifact, InputShape, Precision
from u2net.runtime.errors import ArtifactError
from u2net.runtime.preprocess import FloatArray

FLOATS = {"f32": np.float32, "f16": np.float16}
"""Accepted types of a graph's inputs and outputs; FP16 is converted from and to float32."""

Fill = Callable[[FloatArray], None]
"""Writes the input into memory that the backend provides."""


@dataclass(frozen=True)
class InputSpec:
    """What a backend expects in its input memory."""

    shape: InputShape
    dtype: Literal["float32"] = "float32"
    layout: Literal["NCHW"] = "NCHW"
    best_size: tuple[int, int] | None = None
    """Height and width to use instead of a preset's size that an engine was not built for."""


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
    def precision(self) -> Precision | None:
        """What the backend computes in if that is not the precision of the file and less exact; else None."""

    @property
    def artifact(self) -> Artifact | None:
        """Metadata of the file; None if this project did not export it."""

    def batch_limit(self, height: int, width: int) -> int | None:
        """Largest batch at this size; None if only memory limits it. Raise ProfileError if an engine lacks the size."""

    def run(
        self, shape: tuple[int, int, int, int], fill: Fill, outputs: Sequence[str]
    ) -> AbstractContextManager[Mapping[str, FloatArray]]:
        """Run one batch and return the named outputs, float32 N×C×H×W, valid until the context is left.

        Only the named outputs are copied, though an engine computes all. A larger fixed batch is filled up with zeros.
        """


class TensorInfo(NamedTuple):
    """A graph's input or output."""

    name: str
    kind: str
    """``f32``, ``f16``, or a type that cannot be used."""
    shape: Sequence[int | str | None]
    """Sides; anything but a number is dynamic."""


def network_shape(what: Path | str, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> InputShape:
    """Return the input shape of a graph. Raise ArtifactError if its inputs and outputs are not those of a U²-Net."""
    if len(inputs) != 1 or not _is_image(inputs[0]) or inputs[0].shape[1] != 3:
        found = ", ".join(f"{each.name}: {each.kind} {each.shape}" for each in inputs)
        raise ArtifactError(f"{what} is not a U²-Net: its input is {found or 'missing'}, not one float N×3×H×W")
    for name, kind, shape in (each for each in outputs if not _is_image(each)):
        raise ArtifactError(f"{what} is not a U²-Net: its output {name} is {kind} {shape}, not float N×C×H×W")
    batch, _, height, width = (side if isinstance(side, int) else None for side in inputs[0].shape)
    return InputShape(batch, height, width)


def _is_image(tensor: TensorInfo) -> bool:
    return tensor.kind in FLOATS and len(tensor.shape) == 4


@runtime_checkable
class DeviceBackend(Protocol):
    """A backend that also takes and returns arrays in its device's memory, without a copy."""

    def run_on_device(
        self, tensor: object, outputs: Sequence[str] | Mapping[str, object], stream: int | None
    ) -> Mapping[str, object]:
        """See :meth:`u2net.runtime.session.Session.infer`."""
