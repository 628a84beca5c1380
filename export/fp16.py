"""FP32 graph to FP16: FP32 at the edges, FP16 inside, FP32 islands only where ranges need them."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult

from u2net.export.calibration import gather_images, input_tensors
from u2net.export.graph import GraphStage, constant, read_artifact, read_graph, write_graph
from u2net.export.ranges import Peak, find_hot_values, scan_ranges
from u2net.runtime.errors import ExportError
from u2net.runtime.preprocess import FloatArray

RESIZE_DATA_INPUT = 0
"""Of a Resize only the map is data; its scales stay FP32, its sizes INT64."""


@dataclass(frozen=True)
class Fp16Options:
    """How FP16 is chosen.

    Attributes:
        images: folder of calibration pictures; None takes seeded synthetic scenes.
    """

    images: Path | None = None


@dataclass(frozen=True)
class Fp16Stage(GraphStage):
    """What the conversion wrote, and which values made it keep nodes in FP32."""

    hot_values: tuple[Peak, ...] = ()


def convert_fp16(source: Path, path: Path, options: Fp16Options | None = None) -> Fp16Stage:
    """Write the FP16 graph of an FP32 one.

    Raises:
        ExportError: the graph is not one of ours, or FP16 already.
        InputError: the calibration pictures cannot be read.
    """
    started = time.perf_counter()
    model = read_graph(source)
    artifact = read_artifact(model, source)
    if artifact.precision != "fp32":
        raise ExportError(f"{source} is {artifact.precision} already; convert the FP32 graph")
    images = list(gather_images((options or Fp16Options()).images).values())
    hot = scan_hot_values(model, input_tensors(artifact, images))
    islands = find_islands(model, {peak.value for peak in hot})
    model = ToFp16(islands)(model).model
    written = replace(artifact, precision="fp16", fp32_nodes=tuple(sorted(islands)))
    write_graph(model, path, written)
    seconds = time.perf_counter() - started
    return Fp16Stage(path, len(model.graph), path.stat().st_size, seconds, written, tuple(hot))


def scan_hot_values(model: ir.Model, tensors: Sequence[FloatArray]) -> list[Peak]:
    """Run the FP32 graph and name the values that FP16 might not hold."""
    return find_hot_values(model, scan_ranges(model, tensors))


def find_islands(model: ir.Model, hot: Collection[str]) -> set[str]:
    """Names of the nodes that give or take a hot value: these stay in FP32."""
    return {
        str(node.name)
        for node in model.graph
        if any(value is not None and value.name in hot for value in (*node.inputs, *node.outputs))
    }


class ToFp16(InPlacePass):
    """Turn a graph of FP32 into one of FP16, but for its inputs, its outputs and the named nodes."""

    def __init__(self, islands: Collection[str] = ()) -> None:
        super().__init__()
        self.islands = frozenset(islands)
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def call(self, model: ir.Model) -> PassResult:
        graph = model.graph
        self._casts = {}
        for node in list(graph):
            wanted = ir.DataType.FLOAT if node.name in self.islands else ir.DataType.FLOAT16
            for index, value in enumerate(node.inputs):
                if value is not None and _is_data(node, index, value):
                    node.replace_input_with(index, self._as(graph, value, wanted, before=node))
            for value in node.outputs:
                value.type = ir.TensorType(wanted)
        for index, output in enumerate(list(graph.outputs)):
            if output.dtype == ir.DataType.FLOAT16:
                graph.outputs[index] = self._edge(graph, output)
        _drop_unused_initializers(graph)
        return PassResult(model, modified=True)

    def _as(self, graph: ir.Graph, value: ir.Value, wanted: ir.DataType, *, before: ir.Node) -> ir.Value:
        """The value in the wanted type: itself, a converted initializer, or the output of a Cast."""
        if value.dtype == wanted:
            return value
        if (value, wanted) not in self._casts:
            if value.is_initializer():
                self._casts[value, wanted] = _halve(graph, value)
            else:
                cast = _cast(value, wanted)
                graph.insert_before(before, cast)
                self._casts[value, wanted] = cast.outputs[0]
        return self._casts[value, wanted]

    @staticmethod
    def _edge(graph: ir.Graph, output: ir.Value) -> ir.Value:
        """An FP32 output under the name of the FP16 one."""
        name = output.name
        output.name = f"{name}.fp16"
        cast = _cast(output, ir.DataType.FLOAT)
        cast.outputs[0].name = name
        graph.append(cast)
        return cast.outputs[0]


def _is_data(node: ir.Node, index: int, value: ir.Value) -> bool:
    if node.op_type == "Resize" and index != RESIZE_DATA_INPUT:
        return False
    return value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)


def _cast(value: ir.Value, wanted: ir.DataType) -> ir.Node:
    short = "fp16" if wanted == ir.DataType.FLOAT16 else "fp32"
    node = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(wanted))], name=f"{value.name}.to_{short}")
    node.outputs[0].name = f"{value.name}.{short}"
    node.outputs[0].type = ir.TensorType(wanted)
    node.outputs[0].shape = value.shape
    return node


def _halve(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """An FP16 copy of an FP32 initializer, rounded to nearest."""
    if value.const_value is None:
        raise ExportError(f"initializer {value.name} has no numbers")
    with np.errstate(over="ignore"):
        rounded = value.const_value.numpy().astype(np.float16)
    halved = constant(f"{value.name}.fp16", rounded)
    graph.register_initializer(halved)
    return halved


def _drop_unused_initializers(graph: ir.Graph) -> None:
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
