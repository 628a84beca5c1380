"""From a model file to a session."""

from pathlib import Path

from u2net.runtime.backend import Backend
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError
from u2net.runtime.presets import Preset, find_preset
from u2net.runtime.session import Session


def load(
    path: str | Path,
    device: str = "cpu",
    *,
    preset: str | Preset | None = None,
    size: tuple[int, int] | None = None,
    threads: int | None = None,
    tf32: bool = True,
) -> Session:
    """Load a model file.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``. What is not there is an error; nothing falls back.
        preset: preprocessing contract by name or in full; None takes the one in the file's metadata.
        size: input height and width in pixels, for a network of dynamic size; None takes the preset's.
        threads: processor threads within one operator; None lets the backend choose.
        tf32: let a GPU round FP32 convolutions to TF32.

    Raises:
        ArtifactError: the file is missing, damaged, or of no kind that can be loaded; or it carries no
            metadata and no preset was given.
        DependencyError: the backend's package is not installed.
        DeviceError: the device is not there.
        InputError: device, preset or size cannot be used.
    """
    path = Path(path)
    chosen = Device.parse(device)
    wanted = find_preset(preset) if isinstance(preset, str) else preset
    if wanted is not None:
        wanted.check()
    backend = _open_backend(path, chosen, threads, tf32)
    if wanted is None:
        if backend.artifact is None:
            raise ArtifactError(
                f"{path} does not say how it wants its images; name it: load(path, preset='rembg' or 'reference' or …)"
            )
        wanted = backend.artifact.preset
    height, width = size or (backend.shape.height or wanted.height, backend.shape.width or wanted.width)
    return Session(backend, path, chosen, wanted.with_size(height, width))


def _open_backend(path: Path, device: Device, threads: int | None, tf32: bool) -> Backend:
    if path.suffix.lower() != ".onnx":
        raise ArtifactError(f"{path}: the runtime loads .onnx files; `u2net export` makes one from a checkpoint")
    from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device, threads=threads, tf32=tf32)
