"""The per-layer report of an engine: from the GPU with times, or from its record without."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from u2net.runtime.errors import ArtifactError
from u2net.runtime.trt.api import TensorRT
from u2net.runtime.trt.backend import engine_profiles
from u2net.runtime.trt.contexts import ContextMaker
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.layers import Layer, read_layers
from u2net.runtime.trt.opening import OpenEngine, open_engine
from u2net.runtime.trt.profiles import Shape
from u2net.runtime.trt.record import EngineRecord, read_plan, write_record
from u2net.runtime.trt.slot import Slot

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
    opened = open_engine(path, open_cuda(), device)
    slot, shape = _prepare(opened, path)
    layers = read_layers(opened.trt, opened.engine, slot.context)
    times = _time_layers(opened.trt, slot, shape)
    return Inspection(layers, times, f"{opened.gpu.name}, {shape} (mean of {RUNS} runs)")


def keep_layers(path: Path, device: int) -> EngineRecord:
    """Open an engine that was just built and write its layers into its record.

    Raises:
        U2NetError: it cannot be opened, which a fresh engine must.
    """
    opened = open_engine(path, open_cuda(), device)
    if opened.record is None:
        raise ArtifactError(f"{path} has no record beside it")
    layers = read_layers(opened.trt, opened.engine, _prepare(opened, path)[0].context)
    record = replace(opened.record, layers=layers)
    write_record(path, record)
    return record


def _from_record(path: Path) -> Inspection:
    _, record = read_plan(path)
    if record is None or not record.layers:
        raise ArtifactError(
            f"what {path} runs is not recorded beside it; inspect it on the GPU it is for, with --device cuda"
            + (": TensorRT-RTX settles its layers there" if record and record.flavour == "tensorrt-rtx" else "")
        )
    return Inspection(record.layers, None, f"recorded when it was built on {record.gpu}")


def _prepare(opened: OpenEngine, path: Path) -> tuple[Slot, Shape]:
    """A slot set up for the most frequent shape of the first profile."""
    maker = ContextMaker(opened, path, use_graph=False)
    profile = engine_profiles(opened.engine, maker.input)[0]
    slot, shape = Slot(open_cuda(), maker, 0, profile, use_graph=False), profile.shapes()[1]
    slot.set_shape(shape)
    return slot, shape


def _time_layers(trt: TensorRT, slot: Slot, shape: Shape) -> dict[str, float]:
    """Mean milliseconds of each layer."""
    for _ in range(WARMUP):
        slot.run(shape)
    profiler = make_profiler(trt)
    context: Any = slot.context
    context.profiler = profiler
    for _ in range(RUNS):
        slot.run(shape)
    return {name: total / RUNS for name, total in profiler.totals.items()}


def make_profiler(trt: TensorRT) -> Any:
    """A profiler for TensorRT that sums each layer's milliseconds in ``totals``."""

    class Profiler(trt.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.totals: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.totals[layer_name] = self.totals.get(layer_name, 0.0) + ms

    return Profiler()
