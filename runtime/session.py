"""Image in, mask out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np

from u2net.runtime.artifact import InputShape
from u2net.runtime.backend import Backend, DeviceBackend
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError, SessionClosedError
from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import ByteArray, FloatArray, as_rgb, preprocess_into
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
    outputs: tuple[str, ...]
    """Names of what :meth:`Session.infer` gives, in order."""
    batch_limit: int | None
    """Images of the preset's size at once at most; None where only memory sets a limit."""
    preset: Preset
    precision: str | None
    """Of the weights and activations; None where the file does not say."""
    variant: str | None
    checkpoint_sha256: str | None
    rebuilt: str | None
    """Why an engine was built again on loading; None where it was not."""


class Session:
    """A loaded network with its preprocessing contract; safe to call from many threads."""

    def __init__(
        self, backend: Backend, path: Path, device: Device, preset: Preset, *, rebuilt: str | None = None
    ) -> None:
        backend.input.shape.check_size(preset.height, preset.width)
        self._backend: Backend | None = backend
        artifact = backend.artifact
        self.info = SessionInfo(
            path=path,
            backend=backend.name,
            provider=backend.provider,
            device=str(device),
            shape=backend.input.shape,
            outputs=backend.outputs,
            batch_limit=backend.batch_limit(preset.height, preset.width),
            preset=preset,
            precision=artifact.precision if artifact else None,
            variant=artifact.variant if artifact else None,
            checkpoint_sha256=artifact.checkpoint_sha256 if artifact else None,
            rebuilt=rebuilt,
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
        backend = self._require_open()
        preset = self.info.preset if stretch is None else replace(self.info.preset, stretch=stretch)
        pixels = [as_rgb(image) for image in images]
        step = backend.batch_limit(preset.height, preset.width) or BATCH_LIMIT
        return [
            mask
            for start in range(0, len(pixels), step)
            for mask in self._masks(backend, pixels[start : start + step], preset)
        ]

    @staticmethod
    def _masks(backend: Backend, images: list[ByteArray], preset: Preset) -> list[FloatArray]:
        shape = (len(images), 3, preset.height, preset.width)
        with backend.run(shape, lambda tensor: preprocess_into(tensor, images, preset), backend.outputs[:1]) as maps:
            first = next(iter(maps.values()))
            return [postprocess(map_, preset, *image.shape[:2]) for map_, image in zip(first, images, strict=True)]

    @overload
    def infer(self, tensor: FloatArray) -> dict[str, FloatArray]: ...

    @overload
    def infer(
        self, tensor: object, outputs: Mapping[str, object] | None = None, *, stream: int | None = None
    ) -> dict[str, Any]: ...

    def infer(
        self, tensor: object, outputs: Mapping[str, object] | None = None, *, stream: int | None = None
    ) -> dict[str, Any]:
        """Raw outputs of the network by name (``d0``…), float32 N×C×H×W probabilities.

        Args:
            tensor: float32 N×3×H×W, preprocessed as :attr:`info.preset` says: a NumPy array, or, for an engine, an
                array in memory of the same GPU that has ``__dlpack__`` or ``__cuda_array_interface__``. The first
                gives NumPy arrays, the second arrays in GPU memory, without a copy.
            outputs: arrays in GPU memory to write to, by name; without them new ones are allocated.
            stream: handle of the caller's CUDA stream: the network waits for what is in it, and what comes next in it
                waits for the network. Without it the call returns when the GPU is done.

        Raises:
            InputError: kind, dtype, dimensions or size do not fit.
            ProfileError: the engine was not built for the shape.
            SessionClosedError: after :meth:`close`.
        """
        backend = self._require_open()
        if isinstance(tensor, np.ndarray) or not _is_device_array(tensor):
            return self._infer_on_host(backend, tensor, outputs)
        if not isinstance(backend, DeviceBackend):
            raise InputError(f"{backend.name} takes NumPy arrays; a {type(tensor).__name__} needs a TensorRT engine")
        return dict(backend.run_on_device(tensor, self.info.outputs if outputs is None else outputs, stream))

    def _infer_on_host(
        self, backend: Backend, tensor: object, outputs: Mapping[str, object] | None
    ) -> dict[str, FloatArray]:
        if outputs is not None:
            raise InputError("a NumPy array gives new NumPy arrays; outputs are for arrays in GPU memory")
        checked = self._check_tensor(tensor)
        batch, channels, height, width = checked.shape
        shape = (batch, channels, height, width)
        with backend.run(shape, lambda target: np.copyto(target, checked), backend.outputs) as maps:
            return {name: np.array(values) for name, values in maps.items()}

    def _check_tensor(self, tensor: object) -> FloatArray:
        if not isinstance(tensor, np.ndarray) or tensor.dtype != np.float32 or tensor.ndim != 4 or tensor.shape[1] != 3:
            got = f"{tensor.dtype} {tensor.shape}" if isinstance(tensor, np.ndarray) else type(tensor).__name__
            raise InputError(f"infer takes a float32 array N×3×H×W; got {got}")
        self.info.shape.check_size(*tensor.shape[2:])
        fixed = self.info.shape.batch
        if len(tensor) < 1 or (fixed is not None and len(tensor) > fixed):
            raise InputError(f"the network takes 1 to {fixed or 'any number of'} images at once; got {len(tensor)}")
        return tensor

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


def _is_device_array(value: object) -> bool:
    # DLPack first: the other is a property that may compute, and raise.
    return hasattr(value, "__dlpack__") or hasattr(value, "__cuda_array_interface__")
