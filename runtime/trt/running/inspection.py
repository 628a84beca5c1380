"""Layers of an engine: read and timed on its GPU, or taken from its record without one."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError
from u2net.runtime.trt.api import TensorRTModule
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.layers import Layer, read_layers
from u2net.runtime.trt.record import EngineRecord, read_plan
from u2net.runtime.trt.running.contexts import ContextMaker
from u2net.runtime.trt.running.opening import OpenEngine, open_engine, open_plan
from u2net.runtime.trt.running.slot import Slot

WARMUP, RUNS = 5, 20


@dataclass(frozen=True)
class Inspection:
    """Layers of an engine in execution order."""

    layers: tuple[Layer, ...]
    times: dict[str, float]
    """Mean milliseconds by layer name; empty without a GPU to measure on."""
    where: str
    """GPU and shape of the measurement, or where the layers were recorded."""


def inspect_engine(path: Path, device: Device | None) -> Inspection:
    """Open an engine on a GPU, read its layers and time them; without a device, take them from its record."""
    if path.suffix.lower() == ".onnx":
        raise ArtifactError(f"{path} is a graph, and only engines have layers; `u2net compile` makes an engine of it")
    if device is None:
        _, record = read_plan(path)
        if record is None or not record.layers:
            why = ": TensorRT-RTX chooses its layers there" if record and record.flavour == "tensorrt-rtx" else ""
            told = f"{path} has no recorded layers; inspect it on the GPU it is for, with --device cuda{why}"
            raise ArtifactError(told)
        return Inspection(record.layers, {}, f"recorded when it was built on {record.gpu}")
    opened = open_engine(path, device)
    with open_cuda().using(opened.gpu.index):
        slot = _optimal_slot(opened)
        layers = read_layers(opened.library.trt, opened.engine, slot.context)
        times = _time_layers(opened.library.trt, slot)
        return Inspection(layers, times, f"{opened.gpu.name}, {slot.shape} (mean of {RUNS} runs)")


def read_plan_layers(content: bytes, record: EngineRecord, path: Path, device: Device) -> tuple[Layer, ...]:
    """Read the layers of a plan on its GPU before it is written to ``path``."""
    opened = open_plan(content, record, path, device)
    with open_cuda().using(device.index):
        return read_layers(opened.library.trt, opened.engine, _optimal_slot(opened).context)


def _optimal_slot(opened: OpenEngine) -> Slot:
    """A slot with the optimal shape of the first profile."""
    slot = Slot(open_cuda(), ContextMaker(opened, use_graph=False), 0, use_graph=False)
    slot.set_shape(slot.profile.shapes()[1])
    return slot


def _time_layers(trt: TensorRTModule, slot: Slot) -> dict[str, float]:
    """Mean milliseconds of each layer."""
    totals: dict[str, float] = defaultdict(float)

    class Profiler(trt.IProfiler):  # type: ignore[misc, name-defined]
        def report_layer_time(self, layer_name: str, ms: float) -> None:
            totals[layer_name] += ms

    for _ in range(WARMUP):
        slot.run(())
    context: Any = slot.context
    profiler = Profiler()  # this name keeps it alive
    context.profiler = profiler
    for _ in range(RUNS):
        slot.run(())
    return {name: total / RUNS for name, total in totals.items()}
