"""Small passes that turn what torch's exporter writes into the graph this project promises."""

import ast
from collections import Counter

import numpy as np
import onnx_ir as ir
from onnx import helper
from onnx_ir.passes import InPlacePass, PassResult
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from u2net.export.graph import constant
from u2net.runtime.errors import ExportError

SCOPES_KEY = "pkg.torch.onnx.name_scopes"
WRAPPER = "network."
"""Prefix that the export wrapper puts before the network's own module names."""

NEWER_ATTRIBUTES = ("antialias", "axes", "keep_aspect_ratio_policy")
"""Attributes of Resize that opset 17 does not know and that nothing here needs."""

PORTABLE = frozenset({"Add", "Cast", "Concat", "Conv", "Identity", "MaxPool", "Relu", "Resize", "Sigmoid", "Softmax"})
"""Operators whose meaning, as used here, is the same in every opset from 17 to 21."""


class NameAfterModules(InPlacePass):
    """Name nodes and values after the network's modules: ``stage1.rebnconvin.conv_s1``."""

    def call(self, model: ir.Model) -> PassResult:
        seen: Counter[str] = Counter()
        outputs = set(model.graph.outputs)
        for node in model.graph:
            scopes = ast.literal_eval(node.metadata_props.get(SCOPES_KEY, "['', '']"))
            scope = scopes[-2].removeprefix(WRAPPER.rstrip(".")).removeprefix(".")
            name = scope if node.op_type in {"Conv", "Relu", "MaxPool", "Resize"} and scope else ""
            name = name or f"{scope}.{node.op_type.lower()}".lstrip(".")
            seen[name] += 1
            node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
            for value in node.outputs:
                if value not in outputs:
                    value.name = f"{node.name}:0"
        for name, value in list(model.graph.initializers.items()):
            del model.graph.initializers[name]
            value.name = name.removeprefix(WRAPPER)
            model.graph.register_initializer(value)
        return PassResult(model, modified=True)


class ExplicitUpsampling(InPlacePass):
    """Give each Resize constant scales or constant sizes; what computed them before falls away.

    A Resize by a whole factor gets scales. One to an odd size gets sizes where the batch is fixed, else the
    scales whose product with the input's size is the wanted size: naming the axes to resize, as opset 18 can,
    would do too, but TensorRT's parser takes the dynamic batch for negative then.
    """

    def call(self, model: ir.Model) -> PassResult:
        for index, node in enumerate([node for node in model.graph if node.op_type == "Resize"]):
            for name in NEWER_ATTRIBUTES:
                node.attributes.pop(name, None)
            if not _has_constant_scales(node):
                self._set_target(model.graph, node, index)
        return RemoveUnusedNodesPass()(model)

    def _set_target(self, graph: ir.Graph, node: ir.Node, index: int) -> None:
        source, target = _sides(node, 0), _sides(node.outputs[0])
        scales, sizes = None, None
        if all(big % small == 0 for small, big in zip(source[2:], target[2:], strict=True)):
            scales = [1.0, 1.0, target[2] / source[2], target[3] / source[3]]
        elif target[0] > 0:
            sizes = target
        else:
            scales = [1.0, 1.0, *(_exact_scale(*pair) for pair in zip(source[2:], target[2:], strict=True))]
        values = np.array(scales, np.float32) if scales is not None else np.array(sizes, np.int64)
        name = f"{'scales' if scales is not None else 'sizes'}.{index}"
        value = constant(name, values)
        graph.register_initializer(value)
        node.resize_inputs(4)
        node.replace_input_with(1, None)
        node.replace_input_with(2, value if scales is not None else None)
        node.replace_input_with(3, None if scales is not None else value)
        if scales is not None:
            node.resize_inputs(3)


def _has_constant_scales(node: ir.Node) -> bool:
    return len(node.inputs) > 2 and node.inputs[2] is not None and node.inputs[2].is_initializer()


def _sides(holder: ir.Node | ir.Value, index: int | None = None) -> list[int]:
    """Shape of a value; 0 for a dynamic batch.

    Raises:
        ExportError: channels, height or width are not known.
    """
    value = holder.inputs[index] if isinstance(holder, ir.Node) and index is not None else holder
    shape = value.shape if isinstance(value, ir.Value) else None
    sides = [side if isinstance(side, int) else 0 for side in shape] if shape is not None else []
    if len(sides) != 4 or not all(sides[1:]):
        raise ExportError(f"the exporter did not tell the size of an upsampled map ({shape}); this torch is too new")
    return sides


def _exact_scale(source: int, target: int) -> float:
    """The smallest FP32 scale, from target/source up, with floor(source × scale) = target in any precision."""
    scale = np.float32(target / source)
    while int(source * float(scale)) < target:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


class DeclareOpset(InPlacePass):
    """Declare the opset asked for, and the IR version that goes with it.

    torch's exporter writes opset 18; the operators of a U²-Net mean the same from 17 to 21.
    """

    def __init__(self, opset: int) -> None:
        super().__init__()
        self.opset = opset

    def call(self, model: ir.Model) -> PassResult:
        strangers = sorted({node.op_type for node in model.graph} - PORTABLE)
        if strangers:
            raise ExportError(f"the graph has operators that were not expected in a U²-Net: {', '.join(strangers)}")
        model.opset_imports[""] = self.opset
        model.ir_version = helper.find_min_ir_version_for([helper.make_opsetid("", self.opset)], ignore_unknown=True)
        return PassResult(model, modified=True)


def tidy_graph(model: ir.Model, opset: int) -> ir.Model:
    """All of the above, in order; the exporter's notes, which hold paths of its machine, go last."""
    for step in (
        NameAfterModules(),
        ExplicitUpsampling(),
        DeclareOpset(opset),
        ClearMetadataAndDocStringPass(),
        RemoveUnusedOpsetsPass(),
    ):
        model = step(model).model
    return model
