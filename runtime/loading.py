"""From a model file to a session."""

import inspect
import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal, Never, get_args

from u2net.runtime.artifact import ImageIo
from u2net.runtime.backend import Backend
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, EngineDamagedError, EngineStaleError, InputError, ProfileError
from u2net.runtime.files import locked_folder
from u2net.runtime.kinds import check_counts, is_whole
from u2net.runtime.presets import PRESETS, Preset, find_preset
from u2net.runtime.session import Session, SessionInfo

loading_log = logging.getLogger("u2net.loading")

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
MODEL_SUFFIXES = (".onnx", *ENGINE_SUFFIXES)

CONTEXTS = {"cpu": 1, "cuda": 4}
"""Default number of runs at once. On a processor one run already uses all cores."""

BackendName = Literal["auto", "onnxruntime", "openvino", "openvino-bf16"]
"""What may run an ONNX file."""


def load(
    path: str | Path,
    device: str | Device = "cpu",
    *,
    backend: BackendName | None = None,
    preset: str | Preset | None = None,
    size: tuple[int, int] | None = None,
    threads: int | None = None,
    tf32: bool = True,
    contexts: int | None = None,
    cuda_graph: bool = True,
    rebuild: bool = False,
    **unknown: Never,
) -> Session:
    """Load a model file: ``.onnx``, or a TensorRT engine (``.engine``, ``.plan``, ``.trt``).

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``. A missing device is an error; nothing falls back.
        backend: what runs an ONNX file: ``onnxruntime``, the default; ``openvino``, on a processor, in FP32;
            ``openvino-bf16``, faster and less exact, where the processor computes in BF16; ``auto``, the fastest of
            these that is installed and that device and processor allow (OpenVINO is not taken for images of any size,
            because it keeps about a megabyte for each new size); :attr:`SessionInfo.backend` tells which.
        preset: preprocessing contract, by name or in full; None takes the one in the file's metadata.
        size: input height and width in pixels, for a network of dynamic size; None takes the preset's,
            or the optimum of an engine's first profile if no profile has the preset's.
        threads: processor threads for ONNX files, of each operator (ONNX Runtime) or of all runs together (OpenVINO);
            None lets the backend choose or, where affinity or a container's quota leaves the process fewer cores than
            the machine has, takes that many.
        tf32: let a GPU round the FP32 convolutions of an ONNX file to TF32. An engine has this built in.
        contexts: largest number of runs at once, in an engine per profile; further threads wait. Each run needs memory
            of its own. None means 1 on a processor and 4 on a GPU.
        cuda_graph: launch repeated shapes of an engine as one CUDA graph; of an ONNX file on a GPU one shape, and only
            with ``contexts=1``, because ONNX Runtime cannot run such a graph twice at once.
        rebuild: if an engine was built for another TensorRT or GPU, build it again from the ONNX file it was built
            from, and say so in the log and in :attr:`SessionInfo.rebuilt`.

    Raises:
        ArtifactError: the file is missing, damaged or of an unknown kind, or it has no metadata and no preset was
            given. Engines raise EngineDamagedError, EngineVersionError or EngineGpuError.
        DependencyError: the backend's package is not installed.
        DeviceError: the device is missing or out of memory.
        EngineBuildError: ``rebuild`` is on and the engine cannot be built again.
        InputError: device, preset, size or another option cannot be used.
    """
    if unknown:
        known = [name for name, each in inspect.signature(load).parameters.items() if each.kind == each.KEYWORD_ONLY]
        raise InputError(f"load has no option {', '.join(unknown)}; it has {', '.join(known)}")
    path, device = Path(path), Device.parse(device) if isinstance(device, str) else device
    chosen = find_preset(preset) if isinstance(preset, str) else preset
    if not isinstance(device, Device):
        raise InputError(f"device is a name such as 'cpu' or 'cuda:0'; got {device!r}")
    if not isinstance(chosen, Preset | None):
        raise InputError(f"preset is a name or a Preset; got {preset!r}")
    opened, rebuilt = open_backend(
        path, device, backend, threads=threads, tf32=tf32, contexts=contexts, cuda_graph=cuda_graph, rebuild=rebuild
    )
    return new_session(opened, path, device, preset=chosen, size=size, rebuilt=rebuilt)


def open_backend(
    path: Path,
    device: Device,
    backend: BackendName | None = None,
    *,
    threads: int | None = None,
    tf32: bool = True,
    contexts: int | None = None,
    cuda_graph: bool = True,
    rebuild: bool = False,
) -> tuple[Backend, str | None]:
    """Open a model file with the options of :func:`load`. Also return why an engine was rebuilt, or None."""
    if backend is not None and backend not in get_args(BackendName):
        raise InputError(f"there is no backend {backend!r}; there are {', '.join(get_args(BackendName))}")
    runs = CONTEXTS[device.kind] if contexts is None else contexts
    check_counts("contexts", runs)
    check_counts("threads", threads)
    runs, threads = int(runs), None if threads is None else int(threads)
    suffix = path.suffix.lower()
    if suffix in ENGINE_SUFFIXES:
        if backend not in (None, "auto"):
            raise InputError(f"{path} is an engine, which TensorRT runs; {backend} runs ONNX files")
        return _open_engine(path, device, runs, cuda_graph=cuda_graph, rebuild=rebuild)
    if suffix != ".onnx":
        raise ArtifactError(
            f"{path}: the runtime loads .onnx and {', '.join(ENGINE_SUFFIXES)} files; "
            "`u2net export` makes the first from a checkpoint, `u2net compile` the others from the first"
        )
    wanted = backend
    if backend == "auto":
        wanted = find_fastest(device)
        loading_log.info("%s runs in %s", path, wanted)
    if wanted in ("openvino", "openvino-bf16"):
        from u2net.runtime.openvino_backend import OpenVinoBackend

        try:
            bf16 = wanted == "openvino-bf16"
            any_image = backend != "auto"
            return OpenVinoBackend(path, device, bf16=bf16, threads=threads, contexts=runs, any_image=any_image), None
        except ArtifactError as error:
            if backend != "auto":
                raise
            loading_log.info("%s runs in onnxruntime instead: %s", path, error)
    from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device, threads=threads, contexts=runs, tf32=tf32, cuda_graph=cuda_graph), None


def find_fastest(device: Device) -> BackendName:
    """Return the fastest installed backend for ONNX files, as ``u2net bench --suite`` found.

    On a processor that is OpenVINO, in BF16 if it can; in FP32 it ties with ONNX Runtime, in INT8 it is ahead.
    """
    if device.kind == "cpu":
        from u2net.runtime.openvino_backend import computes_in_bf16

        with suppress(ImportError, RuntimeError):  # a broken OpenVINO counts as none
            return "openvino-bf16" if computes_in_bf16() else "openvino"
    return "onnxruntime"


def new_session(
    backend: Backend,
    path: Path,
    device: Device,
    *,
    preset: Preset | None = None,
    assumed: Preset | None = None,
    size: tuple[int, int] | None = None,
    rebuilt: str | None = None,
) -> Session:
    """Make a session from an open backend, with ``preset``, else the file's own contract, else ``assumed``.

    Raise ArtifactError if none of the three is given, and InputError if the preset cannot be used or the network does
    not take the size (ProfileError for an engine).
    """
    artifact, shape, image = backend.artifact, backend.input.shape, _find_image(path, backend)
    chosen = preset or (artifact.preset if artifact else None) or assumed
    if chosen is None:
        raise ArtifactError(f"{path} does not say how it wants its images; name its preset: {', '.join(PRESETS)}")
    chosen.check()
    if image and artifact and (chosen != artifact.preset or size is not None):
        raise InputError(
            f"{path} takes images: its preset {artifact.preset.name!r} and its size are built in, so leave "
            "size and preset out (preset=None)"
        )
    if size is not None and not (isinstance(size, tuple | list) and len(size) == 2 and all(map(is_whole, size))):
        raise InputError(f"size is (height, width) in whole pixels; got {size!r}")
    size = None if size is None else (int(size[0]), int(size[1]))
    best = backend.input.best_size if image else None
    height, width = best or size or (shape.height or chosen.height, shape.width or chosen.width)
    try:
        limit = backend.batch_limit(height, width)
    except ProfileError:
        if size or backend.input.best_size is None:
            raise
        height, width = backend.input.best_size
        limit = backend.batch_limit(height, width)
    sized = chosen if image else chosen.with_size(height, width)
    info = SessionInfo(
        path=path,
        backend=backend.name,
        provider=backend.provider,
        device=device,
        shape=shape,
        outputs=backend.outputs,
        batch_limit=limit,
        preset=sized,
        preset_stated=artifact is not None and artifact.preset.with_size(sized.height, sized.width) == sized,
        precision=backend.precision or (artifact.precision if artifact else None),
        variant=artifact.variant if artifact else None,
        checkpoint_sha256=artifact.checkpoint_sha256 if artifact else None,
        contexts=backend.contexts,
        rebuilt=rebuilt,
        image=image,
        image_size=best,
    )
    return Session(backend, info)


def _find_image(path: Path, backend: Backend) -> ImageIo | None:
    """Return what the metadata says of images. Raise ArtifactError unless that fits the graph."""
    artifact, shape = backend.artifact, backend.input.shape
    image = artifact.image if artifact else None
    told = (image.height or shape.height, image.width or shape.width) if image else None
    if told != ((shape.height, shape.width) if backend.input.images else None):
        why = "says otherwise" if artifact else "is missing; only files of `u2net export --io image` take images"
        raise ArtifactError(f"{path} takes a {backend.input}, but its metadata {why}; export it again")
    return image


def _open_engine(
    path: Path, device: Device, contexts: int, *, cuda_graph: bool, rebuild: bool
) -> tuple[Backend, str | None]:
    from u2net.runtime.trt.running.backend import TensorRTBackend

    attempt = partial(TensorRTBackend, path, device, contexts=contexts, cuda_graph=cuda_graph)
    with suppress(EngineDamagedError, EngineStaleError):
        return attempt(), None
    with locked_folder(path.parent, wait=True):  # another process may have been replacing the plan and its record
        try:
            return attempt(), None
        except EngineStaleError as error:
            if not rebuild:
                raise
            reason = str(error)
        from u2net.runtime.trt.compiling import rebuild_engine

        rebuild_engine(path, device, reason)
    return attempt(), reason
