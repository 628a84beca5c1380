"""What a worker does on a GPU: find TensorRT, build and inspect engines, read memory, time runs. Needs no torch."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from u2net.runtime.artifact import Artifact
from u2net.runtime.backend import Array
from u2net.runtime.device import Device
from u2net.runtime.errors import DependencyError, DeviceError
from u2net.runtime.session import Session
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.compiling import compile_engine
from u2net.runtime.trt.cuda import PinnedMemory, Stream, open_cuda
from u2net.runtime.trt.flavours import Flavour, import_flavour, installed_flavours
from u2net.runtime.trt.layers import summarize_layers
from u2net.runtime.trt.running.arrays import new_device_array
from u2net.runtime.trt.running.inspection import inspect_engine

SLOWEST = 12
"""Number of layers that a report names."""


@dataclass(frozen=True)
class EngineLayers:
    """Where an engine spends its time."""

    where: str
    """GPU and shape of the measurement."""
    total_ms: float
    summary: tuple[str, ...]
    """Number of layers, fused convolutions, copies and separate upsamplings, in words."""
    slowest: tuple[tuple[str, float], ...]
    """Names and mean milliseconds of the slowest layers."""


def find_tensorrt() -> tuple[dict[Flavour, str], list[str]]:
    """Return the version of each flavour of TensorRT in this Python, and why others cannot be imported."""
    found, broken = dict[Flavour, str](), []
    for flavour in installed_flavours():
        try:
            found[flavour] = import_flavour(flavour).trt.__version__
        except DependencyError as error:
            broken.append(str(error))
    return found, broken


def compile_graph(graph: str, path: str, artifact: Artifact, options: EngineOptions) -> None:
    """Build an engine; ``artifact`` is the graph's metadata."""
    compile_engine(GraphSource(Path(graph), artifact.precision, artifact.opset, artifact), Path(path), options)


def time_layers(path: str, device: str) -> EngineLayers:
    """Time the layers of an engine on its GPU."""
    found = inspect_engine(Path(path), Device.parse(device))
    times = sorted(found.times.items(), key=lambda each: -each[1])
    summary = tuple(summarize_layers(found.layers))
    return EngineLayers(found.where, sum(ms for _, ms in times), summary, tuple(times[:SLOWEST]))


def free_gpu_mb(device: Device) -> float | None:
    """Return the free memory of a GPU, None on a processor. The first call starts CUDA.

    Also None where cuda-bindings cannot be used: PyTorch and ONNX Runtime do without them.
    """
    if device.kind == "cpu":
        return None
    try:
        cuda = open_cuda()
        cuda.require_driver()
        with cuda.using(device.index):
            return int(cuda.call("cudaMemGetInfo")[0]) / 1e6
    except (DependencyError, DeviceError):
        return None


class DeviceTimer:
    """Times runs of a session from GPU memory to GPU memory, by CUDA events in a stream that nobody waits for."""

    def __init__(self, session: Session, tensor: Array, maps: Array) -> None:
        """Copy an input to the session's GPU.

        Args:
            maps: an output for that input, whose shape is taken.
        """
        self._cuda = cuda = open_cuda()
        index = session.info.device.index
        cuda.require_driver()
        cuda.use(index)
        self._stream = Stream(cuda)
        source, target = (new_device_array(cuda, each.shape, index, each.dtype) for each in (tensor, maps))
        pinned = PinnedMemory(cuda, tensor.nbytes)
        pinned.view(tensor.shape, tensor.dtype)[:] = tensor
        cuda.copy(source.address, pinned.address, tensor.nbytes, self._stream)
        self._stream.synchronize()
        output = session.info.mask_output
        self._run = partial(session.infer, source, {output: target}, stream=self._stream.handle)

    def time(self, repeats: int, warmup: int) -> list[float]:
        """Return the seconds of single runs, which are enqueued one after the other."""
        for _ in range(warmup):
            self._run()
        call, flags = self._cuda.call, self._cuda.api.cudaEventDefault
        events = [call("cudaEventCreateWithFlags", flags) for _ in range(repeats + 1)]
        try:
            call("cudaEventRecord", events[0], self._stream.handle)
            for event in events[1:]:
                self._run()
                call("cudaEventRecord", event, self._stream.handle)
            self._stream.synchronize()
            return [float(call("cudaEventElapsedTime", *each)) / 1e3 for each in pairwise(events)]
        finally:
            for event in events:
                self._cuda.api.cudaEventDestroy(event)
