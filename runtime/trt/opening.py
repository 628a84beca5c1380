"""From a plan on disk to an engine that is known to belong here, or an error that says why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from u2net.runtime.errors import (
    DeviceError,
    DriverTooOldError,
    EngineDamagedError,
    EngineGpuError,
    EngineStaleError,
    EngineVersionError,
    OutOfMemoryError,
    U2NetError,
)
from u2net.runtime.trt.api import ICudaEngine, Runtime, TensorRT
from u2net.runtime.trt.cuda import Cuda, Gpu
from u2net.runtime.trt.flavours import Flavour, choose_flavour, import_flavour
from u2net.runtime.trt.messages import MEMORY_WORDS, MessageLog, log, make_logger
from u2net.runtime.trt.rebuilding import rebuild_engine
from u2net.runtime.trt.record import EngineRecord, read_plan


@dataclass(frozen=True)
class OpenEngine:
    """An engine on its GPU, with the runtime and the logger that must live as long as it."""

    trt: TensorRT
    flavour: Flavour
    engine: ICudaEngine
    gpu: Gpu
    record: EngineRecord | None
    rebuilt: str | None
    """Why it was built again on loading; None where it was not."""
    runtime: Runtime
    logger: MessageLog


def open_engine(path: Path, cuda: Cuda, device: int, *, rebuild: bool = False) -> OpenEngine:
    """Open a plan.

    Args:
        rebuild: where the engine is for another TensorRT or GPU, build it again from the graph beside it.

    Raises:
        DriverMissingError, DriverTooOldError, DeviceError: the GPU cannot be used.
        DependencyError: the flavour that built it is not installed.
        ArtifactError: there is no such file, or its record is damaged.
        EngineDamagedError: truncated, altered, or no engine.
        EngineVersionError, EngineGpuError: it was built for another TensorRT or GPU, and ``rebuild`` is off.
        EngineBuildError: ``rebuild`` is on, and it cannot be built again.
    """
    content, record = read_plan(path)
    gpu = cuda.find_gpu(device)  # before anything of TensorRT's: without a driver its runtime may crash
    cuda.use(device)
    opener = Opener(path, choose_flavour(record.flavour if record else None), gpu)
    if record is None:
        log.warning("%s has no record beside it: what it was built for is not known", path)
    try:
        return opener.open(content, record)
    except EngineStaleError as error:
        if record is None or not rebuild:
            raise
        rebuild_engine(path, record, gpu, str(error))
        return opener.open(*read_plan(path), rebuilt=str(error))


class Opener:
    """A plan's path, the TensorRT that is to open it, and the GPU it is to run on."""

    def __init__(self, path: Path, flavour: Flavour, gpu: Gpu) -> None:
        self._path = path
        self._flavour = flavour
        self._gpu = gpu
        self._trt = import_flavour(flavour)

    def open(self, content: bytes, record: EngineRecord | None, *, rebuilt: str | None = None) -> OpenEngine:
        """Check that the plan is for this TensorRT and GPU, then let TensorRT open it."""
        trt, gpu = self._trt, self._gpu
        if record is not None:
            record.check_here(trt.__version__, gpu.compute_capability, gpu.name)
        logger = make_logger(trt)
        runtime = trt.Runtime(logger)
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            where = f"{self._flavour} {trt.__version__} on {gpu.name}"
            raise explain(trt, runtime, content, f"{self._path} cannot be opened by {where}", logger.drain())
        return OpenEngine(trt, self._flavour, engine, gpu, record, rebuilt, runtime, logger)


Verdict = tuple[type[U2NetError], str]
"""Kind of an error, and its remedy."""

DAMAGED: Verdict = (EngineDamagedError, "it is damaged or no engine: compile it again")
OTHER_VERSION: Verdict = (EngineVersionError, "another TensorRT built it: compile it again with this one")
OTHER_GPU: Verdict = (EngineGpuError, "it was built for another GPU: compile it for this one")
NO_MEMORY: Verdict = (OutOfMemoryError, "end what else uses the GPU, or compile it for a smaller batch")

VERDICTS: Mapping[str, Verdict] = {
    "VERSION_MISMATCH": OTHER_VERSION,
    "UNSUPPORTED_CC": OTHER_GPU,
    "OLD_CUDA_DRIVER": (DriverTooOldError, "update the NVIDIA driver"),
    "OLD_CUDA_RUNTIME": (DriverTooOldError, "update the NVIDIA driver and the CUDA packages"),
    "INSUFFICIENT_GPU_MEMORY": NO_MEMORY,
    "CUDA_ERROR": (DeviceError, "CUDA does not work here: see `u2net doctor`"),
    "MALFORMED_ENGINE": DAMAGED,
}
"""What TensorRT-RTX's diagnostics mean."""

WORDS: Mapping[str, Verdict] = {
    "version tag": OTHER_VERSION,
    "version mismatch": OTHER_VERSION,
    "expecting library version": OTHER_VERSION,
    "incompatible device": OTHER_GPU,
    "compute capability": OTHER_GPU,
    "different gpu": OTHER_GPU,
    **dict.fromkeys(MEMORY_WORDS, NO_MEMORY),
}
"""What words in the full TensorRT's messages mean; it has no diagnostics."""


def explain(trt: TensorRT, runtime: Runtime, content: bytes, what: str, said: str) -> U2NetError:
    """The error that a refused plan deserves; ``said`` is TensorRT's own account."""
    verdict = _diagnosed(trt, runtime, content) or next(
        (verdict for words, verdict in WORDS.items() if words in said.lower()), DAMAGED
    )
    kind, remedy = verdict
    return kind(f"{what}: {said}; {remedy}")


def _diagnosed(trt: TensorRT, runtime: Runtime, content: bytes) -> Verdict | None:
    if not hasattr(runtime, "get_engine_validity"):
        return None
    _, found = runtime.get_engine_validity(content)
    members = trt.EngineInvalidityDiagnostics.__members__  # type: ignore[attr-defined]
    return next((VERDICTS[name] for name in VERDICTS if name in members and int(found) & int(members[name])), None)
