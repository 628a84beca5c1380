"""A copy of an FP16 graph that rounds to FP16 after each node, on hardware that computes in FP32.

ONNX Runtime on the CPU runs an FP16 graph in FP32 between casts, so that an overflow past 65,504
comes out finite there and infinite on a GPU. FP16 is therefore judged on this copy.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult

from u2net.export.graph import constant

ROUNDING = "round/"
"""Prefix of the names of the casts that this pass adds."""


class RoundAfterEachNode(InPlacePass):
    """FP16 nodes become FP32 ones whose outputs are cast to FP16 and back; weights keep their rounded values."""

    def call(self, model: ir.Model) -> PassResult:
        graph = model.graph
        for name, value in list(graph.initializers.items()):
            if value.dtype == ir.DataType.FLOAT16 and value.const_value is not None:
                replacement = constant(f"{name}.wide", value.const_value.numpy().astype(np.float32))
                graph.register_initializer(replacement)
                value.replace_all_uses_with(replacement)
                del graph.initializers[name]
        for node in list(graph):
            if node.op_type != "Cast" and node.outputs[0].dtype == ir.DataType.FLOAT16:
                _round_output(graph, node)
        for node in list(graph):
            if node.op_type == "Cast" and not (node.name or "").startswith(ROUNDING):
                _round_cast(graph, node)
        return PassResult(model, modified=True)


def _round_output(graph: ir.Graph, node: ir.Node) -> None:
    value = node.outputs[0]
    value.type = ir.TensorType(ir.DataType.FLOAT)
    uses = list(value.uses())
    rounded = _pair(graph, node, value)
    for use in uses:
        use.node.replace_input_with(use.idx, rounded)


def _pair(graph: ir.Graph, after: ir.Node, value: ir.Value) -> ir.Value:
    """Insert Cast to FP16 and Cast back after a node."""
    for step, dtype in (("down", ir.DataType.FLOAT16), ("up", ir.DataType.FLOAT)):
        cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(dtype))], name=f"{ROUNDING}{after.name}/{step}")
        cast.outputs[0].type = ir.TensorType(dtype)
        graph.insert_after(after, cast)
        after, value = cast, cast.outputs[0]
    return value


def _round_cast(graph: ir.Graph, node: ir.Node) -> None:
    """A cast of the FP16 graph: down rounds and comes back, up has nothing left to do."""
    source, result = node.inputs[0], node.outputs[0]
    if source is None:
        return
    if result.dtype == ir.DataType.FLOAT16:
        result.replace_all_uses_with(_pair(graph, node, source))
        graph.remove(node)
    else:
        node.op_type = "Identity"
        node.attributes.clear()


def round_like_fp16(model: ir.Model) -> ir.Model:
    """A copy of the FP16 graph that rounds after each node and runs in FP32 in between."""
    return RoundAfterEachNode()(ir.from_proto(ir.to_proto(model))).model
