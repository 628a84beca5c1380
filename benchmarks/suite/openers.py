"""Open a contestant as a session. Each function imports what it needs, because a worker's Python may lack the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from u2net.benchmarks.suite.rembg_session import open_rembg_session
from u2net.runtime.device import Device
from u2net.runtime.loading import new_session, open_backend
from u2net.runtime.presets import Preset
from u2net.runtime.session import Session

if TYPE_CHECKING:
    from u2net.model.checkpoint import WeightSet


def open_eager(
    file: Path,
    device: Device,
    preset: Preset,
    threads: int | None = None,
    weights: "WeightSet | None" = None,
    **options: bool,
) -> Session:
    """A checkpoint in PyTorch; further options are those of :class:`TorchBackend`."""
    import torch

    from u2net.benchmarks.suite.torch_backend import TorchBackend
    from u2net.model.checkpoint import load_checkpoint

    if threads is not None:
        torch.set_num_threads(threads)
    backend = TorchBackend(load_checkpoint(file, weights).network, device, **options)
    return new_session(backend, file, device, preset=preset)


def open_file(
    file: Path,
    device: Device,
    preset: Preset,
    threads: int | None = None,
    own_preset: Preset | None = None,
    **options: Any,
) -> Session:
    """An ONNX file or an engine as the runtime opens it: with ``own_preset``, else its own preset, else ``preset``."""
    backend, _ = open_backend(file, device, threads=threads, **options)
    size = None if backend.input.layout == "NHWC" else (preset.height, preset.width)
    return new_session(backend, file, device, preset=own_preset, assumed=preset, size=size)


OPENERS: dict[str, Callable[..., Session]] = {
    "eager": open_eager,
    "file": open_file,
    "rembg": open_rembg_session,
}
