"""From a model file to a session."""

from pathlib import Path

from u2net.runtime.backend import Backend
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, EngineStaleError
from u2net.runtime.presets import PRESETS, Preset, find_preset
from u2net.runtime.session import Session

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
MODEL_SUFFIXES = (".onnx", *ENGINE_SUFFIXES)


def load(
    path: str | Path,
    device: str = "cpu",
    *,
    preset: str | Preset | None = None,
    size: tuple[int, int] | None = None,
    threads: int | None = None,
    tf32: bool = True,
    contexts: int = 4,
    cuda_graph: bool = True,
    rebuild: bool = False,
) -> Session:
    """Load a model file: ``.onnx``, or a TensorRT engine (``.engine``, ``.plan``, ``.trt``).

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``. What is not there is an error; nothing falls back.
        preset: preprocessing contract by name or in full; None takes the one in the file's metadata.
        size: input height and width in pixels, for a network of dynamic size; None takes the preset's.
        threads: ONNX on a processor: threads within one operator; None lets the backend choose.
        tf32: ONNX on a GPU: let it round FP32 convolutions to TF32. An engine has this built in.
        contexts: engine: runs at once at most, each with GPU memory of its own; further threads wait.
        cuda_graph: engine: launch repeated shapes as one CUDA graph.
        rebuild: engine: where it is for another TensorRT or GPU, build it again from the ONNX file it was built
            from and say so in the log and in :attr:`SessionInfo.rebuilt`.

    Raises:
        ArtifactError: the file is missing, damaged, or of no kind that can be loaded; or it carries no
            metadata and no preset was given. An engine has EngineDamagedError, EngineVersionError, EngineGpuError.
        DependencyError: the backend's package is not installed.
        DeviceError: the device is not there, or out of memory.
        EngineBuildError: ``rebuild`` is on and the engine cannot be built again.
        InputError: device, preset, size or another option cannot be used.
    """
    path = Path(path)
    chosen = Device.parse(device)
    wanted = find_preset(preset) if isinstance(preset, str) else preset
    if wanted is not None:
        wanted.check()
    backend: Backend
    rebuilt: str | None = None
    if path.suffix.lower() in ENGINE_SUFFIXES:
        backend, rebuilt = _open_engine(path, chosen, contexts=contexts, cuda_graph=cuda_graph, rebuild=rebuild)
    else:
        backend = _open_onnx(path, chosen, threads, tf32)
    if wanted is None:
        if backend.artifact is None:
            raise ArtifactError(f"{path} does not say how it wants its images; name its preset: {', '.join(PRESETS)}")
        wanted = backend.artifact.preset
    height, width = size or (backend.input.shape.height or wanted.height, backend.input.shape.width or wanted.width)
    return Session(backend, path, chosen, wanted.with_size(height, width), rebuilt=rebuilt)


def _open_engine(
    path: Path, device: Device, *, contexts: int, cuda_graph: bool, rebuild: bool
) -> tuple[Backend, str | None]:
    """Open an engine; also return why it was built again, or None."""
    from u2net.runtime.trt.running.backend import TensorRTBackend

    try:
        return TensorRTBackend(path, device, contexts=contexts, cuda_graph=cuda_graph), None
    except EngineStaleError as error:
        if not rebuild:
            raise
        why = str(error)
    from u2net.runtime.trt.compiling import rebuild_engine

    rebuild_engine(path, device, why)
    return TensorRTBackend(path, device, contexts=contexts, cuda_graph=cuda_graph), why


def _open_onnx(path: Path, device: Device, threads: int | None, tf32: bool) -> Backend:
    if path.suffix.lower() != ".onnx":
        raise ArtifactError(
            f"{path}: the runtime loads .onnx and {', '.join(ENGINE_SUFFIXES)} files; "
            "`u2net export` makes the first from a checkpoint, `u2net compile` the others from the first"
        )
    from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device, threads=threads, tf32=tf32)
