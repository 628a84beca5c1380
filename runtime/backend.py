"""The seam between a session and what runs the network: one thin file a backend."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from u2net.runtime.artifact import Artifact, InputShape
from u2net.runtime.preprocess import FloatArray

Fill = Callable[[FloatArray], None]
"""Writes the input, float32 N×3×H×W, where the backend wants it."""


class Backend(Protocol):
    """A loaded network. ``run`` may be called from many threads at once; what it holds is freed with it."""

    @property
    def name(self) -> str:
        """Library and version, for people."""

    @property
    def provider(self) -> str:
        """What the library really runs the network on."""

    @property
    def shape(self) -> InputShape:
        """Input shape that the file declares."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""

    @property
    def artifact(self) -> Artifact | None:
        """Metadata of the file; None where the file was not exported by this project."""

    @property
    def rebuilt(self) -> str | None:
        """Why the file was built again on loading; None where it was not."""

    def batch_limit(self, height: int, width: int) -> int | None:
        """Images of that size at once at most; None where only memory sets a limit."""

    def run(self, shape: tuple[int, int, int, int], fill: Fill) -> AbstractContextManager[Mapping[str, FloatArray]]:
        """Run a batch: each output by name, float32 N×C×H×W, valid until the context is left.

        A network that takes more images at once than ``shape`` says is fed zeros for the rest.
        """


@runtime_checkable
class DeviceBackend(Protocol):
    """A backend that also takes and gives arrays in GPU memory, without a copy."""

    def run_on_device(
        self, tensor: object, outputs: Mapping[str, object] | None, stream: int | None
    ) -> Mapping[str, object]:
        """See :meth:`u2net.runtime.session.Session.infer`."""
