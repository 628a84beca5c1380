"""One face for everything that is timed."""

from typing import Protocol

from u2net.benchmarks.gpu.protocol import Open
from u2net.runtime.preprocess import FloatArray


class Runner(Protocol):
    """A model made ready for one input shape."""

    provider: str
    """What runs it, as it says itself."""

    def infer(self, tensor: FloatArray) -> FloatArray:
        """Float32 N×3×H×W in host memory to d0, float32 N×1×H×W in host memory."""

    def time_device(self, repeats: int, warmup: int) -> list[float] | None:
        """Seconds between CUDA events around each of ``repeats`` runs from GPU memory to GPU memory.

        The runs are enqueued one after the other without waiting, so that a GPU that has enough to do is never
        idle between them. None where there are no such events.
        """


def settle(command: Open) -> None:
    """Load libraries and start the GPU, so that their memory is not taken for the model's."""
    if command.runner != "session":
        from u2net.benchmarks.gpu.torch_runners import settle_torch

        settle_torch(command.device)


def make_runner(command: Open, tensor: FloatArray) -> Runner:
    """The runner that a command asks for, for that input.

    Raises:
        U2NetError: it cannot be opened; a library may also raise an error of its own.
    """
    if command.runner == "session":
        from u2net.benchmarks.gpu.session_runner import SessionRunner

        return SessionRunner(command, tensor)
    from u2net.benchmarks.gpu.torch_runners import TORCH_RUNNERS

    return TORCH_RUNNERS[command.runner](command, tensor)
