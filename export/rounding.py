"""A copy of an FP16 graph that rounds to FP16 after each node, on hardware that computes in FP32.

ONNX Runtime runs an FP16 graph on the CPU in FP32 between casts. A value that overflows past 65,504 on a GPU
stays finite there. The parity gate therefore judges FP16 on this copy.
"""

import numpy as np
import onnx_ir as ir

from u2net.export.graph import add_initializer, make_cast


def round_like_fp16(model: ir.Model) -> ir.Model:
    """Return a copy of an FP16 graph that computes in FP32 and rounds the output of each node to FP16.

    Weights keep their rounded values. Run the copy with ONNX Runtime's optimizations off: these
    remove a cast to FP16 that is followed by one to FP32.
    """
    rounded = ir.from_proto(ir.to_proto(model))
    graph = rounded.graph
    for name, value in list(graph.initializers.items()):
        if value.dtype == ir.DataType.FLOAT16 and value.const_value is not None:
            widened = add_initializer(graph, f"{name}.fp32", value.const_value.numpy().astype(np.float32))
            value.replace_all_uses_with(widened)
            del graph.initializers[name]
    for node in list(graph):
        if node.outputs[0].dtype == ir.DataType.FLOAT16:
            _round_output(graph, node)
    return rounded


def _round_output(graph: ir.Graph, node: ir.Node) -> None:
    """Make an FP16 node compute in FP32, and give its rounded output to the nodes that use it."""
    value = node.outputs[0]
    uses = list(value.uses())
    if node.op_type == "Cast":  # rounds already
        steps = [ir.DataType.FLOAT]
    else:
        value.type = ir.TensorType(ir.DataType.FLOAT)
        steps = [ir.DataType.FLOAT16, ir.DataType.FLOAT]
    for dtype in steps:
        cast = make_cast(value, dtype)
        graph.insert_after(node, cast)
        node, value = cast, cast.outputs[0]
    for use in uses:
        use.node.replace_input_with(use.idx, value)
