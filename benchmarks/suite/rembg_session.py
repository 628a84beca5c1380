"""rembg's own session on one of our files, with rembg's pre- and postprocessing."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from u2net.runtime.artifact import InputShape
from u2net.runtime.backend import Fill, InputSpec
from u2net.runtime.device import CPU
from u2net.runtime.errors import InputError
from u2net.runtime.loading import new_session
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.presets import PRESETS
from u2net.runtime.session import Session, SessionInfo


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

    @contextmanager
    def run(
        self, shape: tuple[int, int, int, int], fill: Fill, outputs: Sequence[str]
    ) -> Iterator[dict[str, FloatArray]]:
        """Run the network; see :class:`Backend`."""
        tensor = np.empty(shape, np.float32)
        fill(tensor)
        found = self._inner.run(list(outputs), {self._inner.get_inputs()[0].name: tensor})
        yield dict(zip(outputs, found, strict=True))


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
