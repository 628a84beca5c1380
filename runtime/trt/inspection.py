"""The per-layer report of an engine: from the GPU with times, or from its record without."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from u2net.runtime.errors import ArtifactError, DeviceError
from u2net.runtime.trt.api import IExecutionContext, TensorRT
from u2net.runtime.trt.contexts import ContextMaker
from u2net.runtime.trt.cuda import DeviceMemory, Stream, open_cuda
from u2net.runtime.trt.layers import Layer, read_layers
from u2net.runtime.trt.opening import OpenEngine, open_engine
from u2net.runtime.trt.profiles import Profile
from u2net.runtime.trt.record import EngineRecord, read_record, write_record
from u2net.runtime.trt.slot import byte_count, four_sides

WARMUP, RUNS = 5, 20


@dataclass(frozen=True)
class Inspection:
    """Layers of an engine, in the order they run."""

    layers: tuple[Layer, ...]
    times: dict[str, float] | None
    """Mean milliseconds of each layer by name; None where no GPU was there to measure on."""
    where: str
    """What was measured on, at which shape, or whence the layers are known."""


def inspect_engine(path: Path, device: int | None) -> Inspection:
    """Layers of an engine.

    Args:
        device: CUDA device to open the engine on and to time it on; None reads the record alone.

    Raises:
        ArtifactError: the engine cannot be opened, or the record does not tell its layers.
        DeviceError: the device cannot be used.
    """
    if device is None:
        return _from_record(path)
    cuda = open_cuda()
    opened = open_engine(path, cuda, device)
    with_context = _OpenContext(opened, path)
    layers = read_layers(opened.trt, opened.engine, with_context.context)
    times = with_context.time_layers()
    return Inspection(layers, times, f"{opened.gpu.name}, {with_context.shape} (mean of {RUNS} runs)")


def keep_layers(path: Path, device: int) -> EngineRecord:
    """Open an engine that was just built and write its layers into its record.

    Raises:
        U2NetError: it cannot be opened, which a fresh engine must.
    """
    opened = open_engine(path, open_cuda(), device)
    if opened.record is None:
        raise ArtifactError(f"{path} has no record beside it")
    layers = read_layers(opened.trt, opened.engine, _OpenContext(opened, path).context)
    record = replace(opened.record, layers=layers)
    write_record(path, record)
    return record


def _from_record(path: Path) -> Inspection:
    if not path.is_file():
        raise ArtifactError(f"{path}: there is no such file")
    record = read_record(path)
    if record is not None:
        record.check_plan(path.read_bytes(), path)
    if record is None or not record.layers:
        raise ArtifactError(
            f"what {path} runs is not recorded beside it; inspect it on the GPU it is for, with --device cuda"
            + (": TensorRT-RTX settles its layers there" if record and record.flavour == "tensorrt-rtx" else "")
        )
    return Inspection(record.layers, None, f"recorded when it was built on {record.gpu}")


class _OpenContext:
    """A context at the most frequent shape of the first profile, with memory bound."""

    def __init__(self, opened: OpenEngine, path: Path) -> None:
        self._trt = opened.trt
        self._cuda = open_cuda()
        self._stream = Stream(self._cuda)
        maker = ContextMaker(opened, path, use_graph=False)
        self.context: IExecutionContext = maker.make(0, self._stream)
        self.shape = Profile.from_shapes(
            [four_sides(shape) for shape in opened.engine.get_tensor_profile_shape(maker.input, 0)]
        ).shapes()[1]
        self.context.set_input_shape(maker.input, self.shape)
        self._memory = []
        for name in (maker.input, *maker.outputs):
            memory = DeviceMemory(self._cuda, byte_count(four_sides(self.context.get_tensor_shape(name))))
            self.context.set_tensor_address(name, memory.address)
            self._memory.append(memory)

    def time_layers(self) -> dict[str, float]:
        """Mean milliseconds of each layer."""
        for _ in range(WARMUP):
            self._run()
        profiler = make_profiler(self._trt)
        context: Any = self.context
        context.profiler = profiler
        for _ in range(RUNS):
            self._run()
        return {name: total / RUNS for name, total in profiler.totals.items()}

    def _run(self) -> None:
        if not self.context.execute_async_v3(self._stream.handle):
            raise DeviceError("the engine cannot be run for its layers' times")
        self._stream.synchronize()


def make_profiler(trt: TensorRT) -> Any:
    """A profiler for TensorRT that sums each layer's milliseconds in ``totals``."""

    class Profiler(trt.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.totals: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.totals[layer_name] = self.totals.get(layer_name, 0.0) + ms

    return Profiler()
