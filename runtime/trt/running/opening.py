"""Open a plan, after checking that it was built for this TensorRT and GPU. Nothing is built here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from u2net.runtime.device import Device
from u2net.runtime.errors import (
    NO_MEMORY_WORDS,
    DeviceError,
    DriverTooOldError,
    EngineDamagedError,
    EngineGpuError,
    EngineVersionError,
    OutOfMemoryError,
    U2NetError,
)
from u2net.runtime.trt.api import ICudaEngine, Runtime
from u2net.runtime.trt.cuda import Gpu, open_cuda
from u2net.runtime.trt.flavours import TensorRTLibrary, choose_flavour, import_flavour
from u2net.runtime.trt.messages import make_logger, trt_log
from u2net.runtime.trt.record import EngineRecord, read_plan


@dataclass(frozen=True)
class OpenEngine:
    """An engine on its GPU, with the runtime and the logger that must live as long as it does."""

    path: Path
    library: TensorRTLibrary
    engine: ICudaEngine
    gpu: Gpu
    record: EngineRecord | None
    runtime: Runtime
    logger: Any


def open_engine(path: Path, device: Device) -> OpenEngine:
    """Open an engine file. For errors see :func:`u2net.runtime.load`."""
    content, record = read_plan(path)
    if device.kind != "cuda":
        raise DeviceError(f"{path} is a TensorRT engine, which needs a GPU: name device cuda, or take its .onnx")
    if record is None:
        trt_log.warning("%s has no record beside it, so it is not known what it was built for", path)
    return open_plan(content, record, path, device)


def open_plan(content: bytes, record: EngineRecord | None, path: Path, device: Device) -> OpenEngine:
    """Open the content of an engine file; see :func:`open_engine`."""
    cuda = open_cuda()
    gpu = cuda.find_gpu(device.index)  # before any call of TensorRT, whose runtime may crash without a driver
    library = import_flavour(choose_flavour(record.flavour if record else None))
    if record is not None:
        record.check_here(library.trt.__version__, gpu.compute_capability, gpu.name)
    logger = make_logger(library.trt)
    with cuda.using(gpu.index):
        runtime = library.trt.Runtime(logger)
        engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        said: str = logger.drain()
        kind, remedy = _find_refusal(library, runtime, content, said)
        raise kind(f"{path} cannot be opened by {library} on {gpu.name}: {said}; {remedy}")
    return OpenEngine(path, library, engine, gpu, record, runtime, logger)


Refusal = tuple[type[U2NetError], str]
"""Error class for a refused engine, and the remedy."""

DAMAGED: Refusal = (EngineDamagedError, "it is damaged or not an engine: compile it again")
OTHER_VERSION: Refusal = (EngineVersionError, "another TensorRT built it: compile it again with this one")
OTHER_GPU: Refusal = (EngineGpuError, "it was built for another GPU: compile it for this one")
NO_MEMORY: Refusal = (OutOfMemoryError, "stop other programs that use the GPU, or compile it for a smaller batch")

REFUSALS: Mapping[str, Refusal] = {
    "version_mismatch": OTHER_VERSION,
    "unsupported_cc": OTHER_GPU,
    "old_cuda_driver": (DriverTooOldError, "update the NVIDIA driver"),
    "old_cuda_runtime": (DriverTooOldError, "update the NVIDIA driver and the CUDA packages"),
    "insufficient_gpu_memory": NO_MEMORY,
    "cuda_error": (DeviceError, "CUDA does not work here: see `u2net doctor`"),
    "malformed_engine": DAMAGED,
    "version tag": OTHER_VERSION,
    "version mismatch": OTHER_VERSION,
    "expecting library version": OTHER_VERSION,
    "incompatible device": OTHER_GPU,
    "compute capability": OTHER_GPU,
    "different gpu": OTHER_GPU,
    **dict.fromkeys(NO_MEMORY_WORDS, NO_MEMORY),
}
"""Names of TensorRT-RTX's diagnostics, then words in TensorRT's messages. The first one found counts."""


def _find_refusal(library: TensorRTLibrary, runtime: Any, content: bytes, said: str) -> Refusal:
    if library.features.engine_validity:
        trt: Any = library.trt
        _, found = runtime.get_engine_validity(content)
        members = trt.EngineInvalidityDiagnostics.__members__.items()
        said = " ".join([*(name for name, bit in members if int(found) & int(bit)), said])
    return next((refusal for words, refusal in REFUSALS.items() if words in said.lower()), DAMAGED)
