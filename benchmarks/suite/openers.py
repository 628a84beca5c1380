"""Open a contestant as a session. Each function imports what it needs, because a worker's Python may lack the rest."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from u2net.runtime.artifact import InputShape
from u2net.runtime.backend import InputSpec
from u2net.runtime.device import CPU, Device
from u2net.runtime.errors import InputError
from u2net.runtime.loading import new_session, open_backend
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.presets import PRESETS, Preset
from u2net.runtime.session import Session, SessionInfo

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
    assumed: Preset,
    threads: int | None = None,
    preset: Preset | None = None,
    **options: Any,
) -> Session:
    """An ONNX file or an engine as the runtime opens it, with ``preset``, else its own preset, else ``assumed``."""
    backend, _ = open_backend(file, device, threads=threads, **options)
    size = None if backend.input.images else (assumed.height, assumed.width)
    return new_session(backend, file, device, preset=preset, assumed=assumed, size=size)


class RembgBackend:
    """The ONNX Runtime session that rembg made of a file."""

    artifact = precision = contexts = None
    input = InputSpec(InputShape(None, 320, 320))

    def __init__(self, theirs: Any, version: str) -> None:
        self._inner = theirs.inner_session
        self.name, self.provider = f"rembg {version}", self._inner.get_providers()[0]
        self.outputs = tuple(output.name for output in self._inner.get_outputs())

    def batch_limit(self, _height: int, _width: int) -> None:
        """Only memory limits the batch."""
        return

    def run(self, tensor: FloatArray, outputs: Sequence[str]) -> dict[str, FloatArray]:
        """Run the network; see :class:`Backend`."""
        found = self._inner.run(list(outputs), {self._inner.get_inputs()[0].name: tensor})
        return dict(zip(outputs, found, strict=True))


class RembgSession(Session):
    """A session whose masks are rembg's."""

    def __init__(self, theirs: Any, backend: RembgBackend, info: SessionInfo) -> None:
        super().__init__(backend, info)
        self._theirs = theirs

    def __call__(self, image: object, *, stretch: bool | None = None) -> FloatArray:
        """Return rembg's mask of an H×W×3 image."""
        if stretch is False:
            raise InputError("rembg always stretches its masks")
        (mask,) = self._theirs.predict(Image.fromarray(np.asarray(image)))
        return np.asarray(mask, np.float32) / np.float32(255)


def open_rembg_session(file: Path, _device: object, _preset: object, threads: int | None = None) -> Session:
    """Open a 320×320 file as rembg's ``u2net_custom``."""
    os.environ["REMBG_HOME"] = str(file.parent)  # rembg only opens files in its home folder
    import onnxruntime
    import rembg

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    theirs = rembg.new_session("u2net_custom", options, model_path=str(file))
    backend = RembgBackend(theirs, rembg.__version__)
    return RembgSession(theirs, backend, new_session(backend, file, CPU, preset=PRESETS["rembg"]).info)


OPENERS: dict[str, Callable[..., Session]] = {"eager": open_eager, "file": open_file, "rembg": open_rembg_session}
