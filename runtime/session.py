"""Image in, mask out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from u2net.runtime.artifact import InputShape
from u2net.runtime.backend import Backend
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError, SessionClosedError
from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import FloatArray, as_rgb, preprocess_batch
from u2net.runtime.presets import Preset

BATCH_LIMIT = 8
"""Images that go through a network of dynamic batch at once, so that memory stays bounded."""


@dataclass(frozen=True)
class SessionInfo:
    """What a session runs, on what."""

    path: Path
    backend: str
    provider: str
    """What is really in use, as the backend reports it."""
    device: str
    shape: InputShape
    preset: Preset
    precision: str | None
    """Of the weights and activations; None where the file does not say."""
    variant: str | None
    checkpoint_sha256: str | None


class Session:
    """A loaded network with its preprocessing contract; safe to call from many threads."""

    def __init__(self, backend: Backend, path: Path, device: Device, preset: Preset) -> None:
        backend.shape.check_size(preset.height, preset.width)
        self._backend: Backend | None = backend
        artifact = backend.artifact
        self.info = SessionInfo(
            path=path,
            backend=backend.name,
            provider=backend.provider,
            device=str(device),
            shape=backend.shape,
            preset=preset,
            precision=artifact.precision if artifact else None,
            variant=artifact.variant if artifact else None,
            checkpoint_sha256=artifact.checkpoint_sha256 if artifact else None,
        )

    def __call__(self, image: object, *, stretch: bool | None = None) -> FloatArray:
        """Mask of one image.

        Args:
            image: uint8 H×W×3 RGB, H×W×4 RGBA or H×W grey, of any size.
            stretch: stretch the map to [0, 1]; None does as the preset says, False gives plain probabilities.

        Returns:
            float32 H×W in [0, 1], 1 on the object.

        Raises:
            InputError: no image.
            SessionClosedError: after :meth:`close`.
        """
        return self.batch([image], stretch=stretch)[0]

    def batch(self, images: Sequence[object], *, stretch: bool | None = None) -> list[FloatArray]:
        """Masks of several images, each of its own size; each is what the image alone would give."""
        self._require_open()
        preset = self.info.preset if stretch is None else replace(self.info.preset, stretch=stretch)
        pixels = [as_rgb(image) for image in images]
        step = self.info.shape.batch or BATCH_LIMIT
        masks: list[FloatArray] = []
        for start in range(0, len(pixels), step):
            chunk = pixels[start : start + step]
            maps = self.infer(preprocess_batch(chunk, preset))
            first = next(iter(maps.values()))
            for one_map, image in zip(first, chunk, strict=True):
                masks.append(postprocess(one_map, preset, *image.shape[:2]))
        return masks

    def infer(self, tensor: object) -> dict[str, FloatArray]:
        """Raw outputs of the network by name (``d0``…), float32 N×C×H×W probabilities.

        Args:
            tensor: float32 N×3×H×W, preprocessed as :attr:`info.preset` says. Where the network's
                batch is fixed, N may be anything up to it.

        Raises:
            InputError: dtype, dimensions or size do not fit.
            SessionClosedError: after :meth:`close`.
        """
        backend = self._require_open()
        checked = self._check_tensor(tensor)
        fixed, count = backend.shape.batch, len(checked)
        if fixed is None or fixed == count:
            return backend.infer(checked)
        padded = np.zeros((fixed, *checked.shape[1:]), np.float32)
        padded[:count] = checked
        return {name: values[:count] for name, values in backend.infer(padded).items()}

    def _check_tensor(self, tensor: object) -> FloatArray:
        if not isinstance(tensor, np.ndarray) or tensor.dtype != np.float32 or tensor.ndim != 4 or tensor.shape[1] != 3:
            got = f"{tensor.dtype} {tensor.shape}" if isinstance(tensor, np.ndarray) else type(tensor).__name__
            raise InputError(f"infer takes a float32 array N×3×H×W; got {got}")
        fixed = self.info.shape.batch
        if len(tensor) < 1 or (fixed is not None and len(tensor) > fixed):
            raise InputError(f"the network takes 1 to {fixed or 'any number of'} images at once; got {len(tensor)}")
        self.info.shape.check_size(*tensor.shape[2:])
        return np.ascontiguousarray(tensor)

    def _require_open(self) -> Backend:
        if self._backend is None:
            raise SessionClosedError(f"the session of {self.info.path} is closed; load it again")
        return self._backend

    def close(self) -> None:
        """Let go of the network: calls under way finish, with the last of them it is freed; later ones are refused."""
        self._backend = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
