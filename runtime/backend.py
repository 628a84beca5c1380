"""The seam between a session and what runs the network: one thin file a backend."""

from typing import Protocol

from u2net.runtime.artifact import Artifact, InputShape
from u2net.runtime.preprocess import FloatArray


class Backend(Protocol):
    """A loaded network. ``infer`` may be called from many threads at once; what it holds is freed with it."""

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
    def artifact(self) -> Artifact | None:
        """Metadata of the file; None where the file was not exported by this project."""

    def infer(self, tensor: FloatArray) -> dict[str, FloatArray]:
        """Float32 N×3×H×W to each output by name, float32 N×C×H×W."""
