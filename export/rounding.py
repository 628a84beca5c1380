"""A copy of an FP16 graph that rounds to FP16 after each node, so that it overflows on a processor as on a GPU."""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass, ShapeInferencePass

from u2net.export.graph import add_initializer, make_cast


def round_like_fp16(model: ir.Model) -> ir.Model:
    """Return a copy of an FP16 graph that computes in FP32 and rounds the output of each node to FP16.

    Weights keep their rounded values; inputs and outputs are FP32, and rounded if they were FP16. Run the copy with
    ONNX Runtime's optimizations off: these remove a cast to FP16 that is followed by one to FP32.
    """
    rounded = model.clone()
    graph = rounded.graph
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(rounded)
    ShapeInferencePass()(rounded)  # other exporters do not write the type of every value
    for name, value in list(graph.initializers.items()):
        if value.dtype == ir.DataType.FLOAT16 and value.const_value is not None:
            widened = add_initializer(graph, f"{name}.fp32", value.const_value.numpy().astype(np.float32))
            value.replace_all_uses_with(widened)
            del graph.initializers[name]
    for value in [*graph.inputs, *(value for node in graph for value in node.outputs)]:
        if value.dtype == ir.DataType.FLOAT16:
            _round(graph, value)
    return rounded


def _round(graph: ir.Graph, value: ir.Value) -> None:
    """Make an FP16 value FP32, and give its rounded copy to whatever uses it."""
    node, uses = value.producer(), list(value.uses())
    rounded = value
    if node is None or node.op_type != "Cast":  # a Cast rounds already
        value.type = ir.TensorType(ir.DataType.FLOAT)
        rounded = _add_cast(graph, value, ir.DataType.FLOAT16)
    rounded = _add_cast(graph, rounded, ir.DataType.FLOAT)
    for use in uses:
        use.node.replace_input_with(use.idx, rounded)
    for index, output in enumerate(graph.outputs):
        if output is value:
            value.name, rounded.name = f"{value.name}.exact", value.name
            graph.outputs[index] = rounded


def _add_cast(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    cast, producer = make_cast(value, dtype), value.producer()
    if producer is None:
        graph.insert_before(graph[0], cast)
    else:
        graph.insert_after(producer, cast)
    return cast.outputs[0]
