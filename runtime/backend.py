"""The seam between a session and whatever runs the network: one thin file per backend."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from u2net.runtime.artifact import Artifact, InputShape
from u2net.runtime.preprocess import FloatArray

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


@runtime_checkable
class DeviceBackend(Protocol):
    """A backend that also takes and returns arrays in its device's memory, without a copy."""

    def run_on_device(
        self, tensor: object, outputs: Sequence[str] | Mapping[str, object], stream: int | None
    ) -> Mapping[str, object]:
        """See :meth:`u2net.runtime.session.Session.infer`."""
