"""Image in, mask out."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
from PIL import Image

from u2net.runtime.artifact import ImageIo, InputShape, Precision
from u2net.runtime.backend import Array, Backend, DeviceBackend
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, DeviceError, InputError, SessionClosedError
from u2net.runtime.postprocess import postprocess, scale_masks
from u2net.runtime.preprocess import ByteArray, FloatArray, as_rgb_batch, preprocess_batch
from u2net.runtime.presets import Preset

CHUNKS = {"cpu": 4, "cuda": 8}
"""Images per run of a network with a dynamic batch: on a processor more cost memory and save no time."""


@dataclass(frozen=True)
class SessionInfo:
    """What a session runs, and on what."""

    path: Path
    backend: str
    """Library and version."""
    provider: str
    """Hardware or execution provider in use, as the backend reports it."""
    device: Device
    shape: InputShape
    outputs: tuple[str, ...]
    """Names of the outputs of :meth:`Session.infer`, in order."""
    batch_limit: int | None
    """Largest batch at the preset's size or, for a network that takes images, at the size it is tuned for; None if
    only memory limits it."""
    preset: Preset
    preset_stated: bool
    """True if the preset is the one in the file's metadata; False if the caller named it or it was assumed."""
    precision: Precision | None
    """None if the file does not say."""
    variant: str | None
    checkpoint_sha256: str | None
    contexts: int | None
    """Largest number of runs at once, in an engine per profile; None if there is no bound."""
    rebuilt: str | None = None
    """Why an engine was rebuilt on loading; None if it was not."""
    image: ImageIo | None = None
    """What goes in and comes out if pre- and postprocessing are inside the network; None if tensors do."""
    image_size: tuple[int, int] | None = None
    """Height and width of the images that an engine is tuned for; None for other files."""

    @property
    def takes_images(self) -> bool:
        """True if :meth:`Session.infer` takes images and gives masks."""
        return self.image is not None

    @property
    def mask_output(self) -> str:
        """Name of the output that masks are made of: the fused map ``d0``, or the first output if there is none."""
        return "d0" if "d0" in self.outputs else self.outputs[0]


class Session:
    """A loaded network with its preprocessing contract; safe to call from many threads."""

    def __init__(self, backend: Backend, info: SessionInfo) -> None:
        """Use an open backend."""
        if not info.takes_images:
            info.shape.check_size(info.preset.height, info.preset.width, info.path)
        self._backend: Backend | None = backend
        self.info = info
        # On a processor few threads resize for all callers: more would take memory, which malloc keeps for each thread,
        # and save no time.
        self._process = os.getpid()  # a fork copies no threads
        self._threads = ThreadPoolExecutor((info.contexts or 1) + 1) if info.device.kind == "cpu" else None

    def __repr__(self) -> str:
        return f"<Session {self.info.path}: {self.info.backend}, {self.info.provider}>"

    def __call__(self, image: object, *, stretch: bool | None = None) -> FloatArray:
        """Compute the mask of one image, float32 H×W in [0, 1], 1 on the object.

        Args:
            image: uint8 H×W×3 RGB, H×W×4 RGBA or H×W grey, or a PIL image, of any size. A PIL image is turned upright
                as its EXIF data says, and so is its mask.
            stretch: stretch the map to [0, 1]; None follows the preset, False returns plain probabilities.

        Raises:
            InputError: the argument is not an image, or a network that takes images was exported for another size or
                another ``stretch``.
            ArtifactError: the network's output holds NaN or Inf.
            SessionClosedError: the session was closed.
        """
        return self.batch([image], stretch=stretch)[0]

    def batch(self, images: Sequence[object], *, stretch: bool | None = None) -> list[FloatArray]:
        """Compute the masks of several images of any sizes; each is the same as for the image alone.

        Errors are those of a call with one image; a single image instead of a list is an InputError.
        """
        backend = self._require_open()
        if isinstance(images, Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
            raise InputError("batch takes a list of images; for a single image call session(image)")
        if not isinstance(stretch, bool | np.bool_ | None):
            raise InputError(f"stretch is True, False or None; got {stretch!r}")
        preset = self.info.preset if stretch is None else replace(self.info.preset, stretch=bool(stretch))
        if self.info.takes_images and preset != self.info.preset:
            own = self.info.preset.stretch
            other = "--no-stretch" if own else "--stretch"
            raise InputError(f"{self.info.path} has stretch={own} built in; for the other export it with {other}")
        pixels = as_rgb_batch(images)
        alike: dict[tuple[int, ...] | None, list[int]] = {}
        for index, image in enumerate(pixels):
            alike.setdefault(image.shape if self.info.takes_images else None, []).append(index)
        masks: dict[int, FloatArray] = {}
        for shape, indices in alike.items():
            step = self._chunk(backend, shape)
            for chosen in (indices[start : start + step] for start in range(0, len(indices), step)):
                call = partial(self._masks, backend, [pixels[index] for index in chosen], preset)
                found = call() if self._threads is None else self._threads.submit(call).result()
                masks.update(zip(chosen, found, strict=True))
        return [masks[index] for index in range(len(pixels))]

    def _chunk(self, backend: Backend, shape: tuple[int, ...] | None) -> int:
        """Number of images to run at once; ``shape`` is that of images which go in as they are."""
        kind = self.info.device.kind
        if shape is None:
            return self.info.batch_limit or CHUNKS[kind]
        if kind == "cpu":
            return 1  # whole images take memory, and gain no time
        height, width = shape[:2]
        self.info.shape.check_image(height, width, self.info.path)
        return backend.batch_limit(height, width) or CHUNKS[kind]

    def _masks(self, backend: Backend, images: list[ByteArray], preset: Preset) -> list[FloatArray]:
        """Compute the masks of one batch. Pre- and postprocessing stay outside the run, which occupies a context."""
        output = self.info.mask_output
        if self.info.takes_images:
            return list(scale_masks(self._run(backend, np.stack(images), [output])[output]))
        tensor = preprocess_batch(images, preset)
        maps = self._run(backend, tensor, [output])[output]
        if maps.ndim != 4 or maps.shape[1] < 1 or maps.shape[2:] != tensor.shape[2:]:
            raise ArtifactError(
                f"{self.info.path} is no network for masks: {output} is {maps.shape}, the input {tensor.shape}"
            )
        return [postprocess(map_, preset, *image.shape[:2]) for map_, image in zip(maps, images, strict=True)]

    def _run(self, backend: Backend, tensor: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """Check the size of a batch in host memory, and run it."""
        backend.input.check_size(tensor.shape, self.info.path)
        return dict(backend.run(np.ascontiguousarray(tensor), outputs))

    @overload
    def infer(self, tensor: FloatArray, outputs: Sequence[str] | None = None) -> dict[str, FloatArray]: ...

    @overload
    def infer(
        self, tensor: object, outputs: Sequence[str] | Mapping[str, object] | None = None, *, stream: int | None = None
    ) -> dict[str, Any]: ...

    def infer(
        self, tensor: object, outputs: Sequence[str] | Mapping[str, object] | None = None, *, stream: int | None = None
    ) -> dict[str, Any]:
        """Run the network on a preprocessed tensor and return its raw probabilities by name, float32 N×C×H×W.

        A network that takes images returns masks, N×H×W, in its own type: float32 from 0 to 1, or uint8.

        Args:
            tensor: float32 N×3×H×W, preprocessed as :attr:`info.preset` says, or uint8 N×H×W×3 RGB for a network that
                takes images: a NumPy array, or an array in the memory of the session's device that has ``__dlpack__``
                or ``__cuda_array_interface__``. A NumPy array returns NumPy arrays, a device array returns device
                arrays without a copy.
            outputs: names of the outputs to compute and copy; None takes all. With a device array, also a mapping
                from names to the device arrays to write to.
            stream: handle of the caller's CUDA stream: the network waits for the work in it, and later work in it
                waits for the network. Without it, and always in ONNX Runtime, the call returns when the GPU is done.

        Raises:
            InputError: kind, dtype, dimensions, size or names do not fit, or a stream came with a NumPy array.
            ProfileError: the engine was not built for the shape.
            SessionClosedError: the session was closed.
        """
        backend = self._require_open()
        wanted = self.info.outputs if outputs is None else outputs
        known = self.info.outputs
        names = list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, str) else []
        if not names or any(name not in known for name in names) or len(set(names)) < len(names):
            raise InputError(f"outputs must be a list of distinct names out of {', '.join(known)}; got {outputs!r}")
        wanted = wanted if isinstance(wanted, Mapping) else names
        # DLPack first: the CUDA array interface is a property that may compute and raise.
        on_device = hasattr(tensor, "__dlpack__") or hasattr(tensor, "__cuda_array_interface__")
        if isinstance(tensor, np.ndarray) or not on_device:
            if stream is not None:
                raise InputError("stream is for device arrays; a call with a NumPy array waits for its result")
            return self._infer_on_host(backend, tensor, wanted)
        if not isinstance(backend, DeviceBackend):
            raise InputError(f"{backend.name} takes NumPy arrays; got {type(tensor).__name__}")
        return dict(backend.run_on_device(tensor, wanted, stream))

    def _infer_on_host(
        self, backend: Backend, tensor: object, outputs: Sequence[str] | Mapping[str, object]
    ) -> dict[str, Array]:
        if isinstance(outputs, Mapping):
            raise InputError("a NumPy array returns new NumPy arrays; arrays to write to need a device array as input")
        if not isinstance(tensor, np.ndarray):
            raise InputError(f"infer takes a {backend.input}; got {type(tensor).__name__}")
        backend.input.check(tensor.shape, tensor.dtype)
        return self._run(backend, tensor, outputs)

    def _require_open(self) -> Backend:
        if os.getpid() != self._process:
            raise DeviceError("this session was loaded before the process was forked; load it again after the fork")
        if self._backend is None:
            raise SessionClosedError(f"the session of {self.info.path} is closed; load it again")
        return self._backend

    def close(self) -> None:
        """Release the network: it is freed once running calls have finished, and later calls are refused."""
        self._backend = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
