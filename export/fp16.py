"""FP32 graph to FP16: inputs and outputs stay FP32, and so does each node whose values FP16 cannot hold."""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from u2net.export.calibration import gather_images, make_tensors
from u2net.export.graph import (
    GraphStage,
    add_initializer,
    make_cast,
    open_graph,
    read_artifact,
    read_graph,
    write_graph,
)
from u2net.runtime.errors import ExportError
from u2net.runtime.preprocess import FloatArray

FP16_MAX = float(np.finfo(np.float16).max)
"""65,504, the largest finite value of FP16."""

HEADROOM = 4.0
"""Factor by which an activation may be larger on other images than on the calibration images."""

PROBE_PREFIX = "probe/"
"""Prefix of the outputs that give the largest magnitude of a value."""


def convert_fp16(source: str | Path, path: str | Path, images: str | Path | None = None) -> GraphStage:
    """Write the FP16 graph of an FP32 one, calibrated on a folder of pictures or on seeded synthetic scenes.

    Raise ExportError if this project did not export the graph or it is not FP32, InputError if a picture is unreadable.
    """
    started = time.perf_counter()
    source, path = Path(source), Path(path)
    model = read_graph(source)
    artifact = read_artifact(model, source)
    if artifact.precision != "fp32":
        raise ExportError(f"{source} is {artifact.precision} already; convert the FP32 graph")
    tensors = make_tensors(artifact, list(gather_images(images).values()))
    islands = find_islands(model, find_hot_values(model, tensors))
    lower_to_fp16(model, islands)
    written = replace(artifact, precision="fp16", fp32_nodes=tuple(sorted(islands)))
    return write_graph(model, path, written, started)


def find_hot_values(model: ir.Model, tensors: Sequence[FloatArray]) -> set[str]:
    """Return the names of the values that FP16 may not hold: activations on the tensors, and weights."""
    hot = {name for name, magnitude in scan_ranges(model, tensors).items() if magnitude > FP16_MAX / HEADROOM}
    weights = {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.dtype == ir.DataType.FLOAT and value.const_value is not None
    }
    return hot | {name for name, numbers in weights.items() if np.abs(numbers).max(initial=0.0) > FP16_MAX}


def scan_ranges(model: ir.Model, tensors: Sequence[FloatArray]) -> dict[str, float]:
    """Run a graph and return the largest magnitude of each node's output by value name; Inf if it was not finite."""
    session = open_graph(_add_probes(model))
    probes = [name for name in session.info.outputs if name.startswith(PROBE_PREFIX)]
    peaks: dict[str, float] = {}
    for tensor in tensors:
        for name, values in session.infer(tensor, probes).items():
            value, magnitude = name.removeprefix(PROBE_PREFIX), float(values.max())
            peaks[value] = max(peaks.get(value, 0.0), magnitude if np.isfinite(magnitude) else np.inf)
    return peaks


def _add_probes(model: ir.Model) -> ir.Model:
    """Return a copy with one 1×1×1×1 output per value, its largest magnitude, so that no map has to be kept."""
    probed = model.clone()
    graph = probed.graph
    for node in list(graph):
        for value in node.outputs:
            absolute = ir.node("Abs", [value])
            largest = ir.val(f"{PROBE_PREFIX}{value.name}", ir.DataType.FLOAT, [1, 1, 1, 1])
            graph.extend([absolute, ir.node("ReduceMax", absolute.outputs, {"keepdims": 1}, outputs=[largest])])
            graph.outputs.append(largest)
    return probed


def find_islands(model: ir.Model, hot: Collection[str]) -> set[str]:
    """Return the names of the nodes that compute or read a hot value: these stay in FP32."""
    return {
        str(node.name)
        for node in model.graph
        if any(value is not None and value.name in hot for value in (*node.inputs, *node.outputs))
    }


def lower_to_fp16(model: ir.Model, islands: Collection[str] = ()) -> None:
    """Turn an FP32 graph into an FP16 one in place; inputs, outputs and the named nodes stay FP32."""
    graph = model.graph
    converted: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    for node in list(graph):
        wanted = ir.DataType.FLOAT if node.name in islands else ir.DataType.FLOAT16
        for index, value in enumerate(node.inputs):
            if value is None or value.dtype == wanted or not _is_data(node, index, value):
                continue
            if (value, wanted) not in converted:
                converted[value, wanted] = _convert(graph, value, wanted, before=node)
            node.replace_input_with(index, converted[value, wanted])
        for value in node.outputs:
            value.type = ir.TensorType(wanted)
    for index, output in enumerate(list(graph.outputs)):
        if output.dtype == ir.DataType.FLOAT16:
            name, output.name = output.name, f"{output.name}.fp16"
            cast = make_cast(output, ir.DataType.FLOAT)
            cast.outputs[0].name = name
            graph.append(cast)
            graph.outputs[index] = cast.outputs[0]
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]


def _is_data(node: ir.Node, index: int, value: ir.Value) -> bool:
    """True for floating-point inputs except the scales of a Resize, which stay FP32."""
    return value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16) and (node.op_type != "Resize" or index == 0)


def _convert(graph: ir.Graph, value: ir.Value, wanted: ir.DataType, *, before: ir.Node) -> ir.Value:
    """Return a value in another type: an initializer rounded to nearest, or the output of a new Cast."""
    if value.is_initializer() and value.const_value is not None:
        with np.errstate(over="ignore"):
            return add_initializer(graph, f"{value.name}.fp16", value.const_value.numpy().astype(np.float16))
    cast = make_cast(value, wanted)
    graph.insert_before(before, cast)
    return cast.outputs[0]
