"""Passes that turn the output of torch's exporter into the graph that this project promises."""

import ast
from collections import Counter

import numpy as np
import onnx_ir as ir
from onnx import helper
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from u2net.export.graph import add_initializer
from u2net.runtime.artifact import InputShape
from u2net.runtime.errors import ExportError

SCOPES_KEY = "pkg.torch.onnx.name_scopes"
WRAPPER = "network."
"""Prefix that the export wrapper puts before the network's own module names."""

NEWER_ATTRIBUTES = ("antialias", "axes", "keep_aspect_ratio_policy")
"""Attributes of Resize that opset 17 does not have and that no U²-Net needs."""

PORTABLE = frozenset({"Add", "Cast", "Concat", "Conv", "Identity", "MaxPool", "Relu", "Resize", "Sigmoid", "Softmax"})
"""Operators that mean the same in every opset from 17 to 21, and that take any batch and size as used here."""


def tidy_graph(model: ir.Model, shape: InputShape, opset: int) -> None:
    """Run every pass on a model in place. Raise ExportError if it is not what torch is known to write for a U²-Net."""
    name_after_modules(model)
    make_upsampling_constant(model, shape.batch)
    declare_opset(model, opset)
    declare_shape(model, shape)
    ClearMetadataAndDocStringPass()(model)  # the metadata holds paths of this machine
    RemoveUnusedOpsetsPass()(model)


def name_after_modules(model: ir.Model) -> None:
    """Name nodes and values after the network's modules: ``stage1.rebnconvin.conv_s1``."""
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


def make_upsampling_constant(model: ir.Model, batch: int | None) -> None:
    """Give each Resize constant scales or constant sizes, and remove the nodes that computed them.

    A Resize by a whole factor gets scales. A Resize to another size gets sizes if the batch is fixed, and
    otherwise scales that give the size when multiplied with the input's. Opset 18 could name the axes
    to resize instead, but TensorRT's parser then reads the dynamic batch as negative.
    """
    for index, node in enumerate([node for node in model.graph if node.op_type == "Resize"]):
        for name in NEWER_ATTRIBUTES:
            node.attributes.pop(name, None)
        scales = node.inputs[2] if len(node.inputs) > 2 else None
        if scales is None or not scales.is_initializer():
            _set_target(model.graph, node, index, batch)
    RemoveUnusedNodesPass()(model)


def _set_target(graph: ir.Graph, node: ir.Node, index: int, batch: int | None) -> None:
    source, target = _known_shape(node.inputs[0]), _known_shape(node.outputs[0])
    whole = all(large % small == 0 for small, large in zip(source[2:], target[2:], strict=True))
    if batch and not whole:
        target[0] = batch
        node.resize_inputs(4)
        node.replace_input_with(2, None)
        node.replace_input_with(3, add_initializer(graph, f"sizes.{index}", np.array(target, np.int64)))
    else:
        scales = [1.0, 1.0, *(_exact_scale(*pair) for pair in zip(source[2:], target[2:], strict=True))]
        node.resize_inputs(3)
        node.replace_input_with(2, add_initializer(graph, f"scales.{index}", np.array(scales, np.float32)))
    node.replace_input_with(1, None)


def _known_shape(value: ir.Value | None) -> list[int]:
    """Return the shape of a map. Raise ExportError if it is not known."""
    shape = value.shape if value is not None else None
    sides = [side for side in shape or () if isinstance(side, int)]
    if len(sides) != 4:
        raise ExportError(f"the size of an upsampled map is not in torch's export ({shape}); this torch is too new")
    return sides


def _exact_scale(source: int, target: int) -> float:
    """Return the smallest FP32 scale ≥ target/source with floor(source × scale) = target in any precision."""
    scale = np.float32(target / source)
    while int(source * float(scale)) < target:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


def declare_shape(model: ir.Model, shape: InputShape) -> None:
    """Declare the batch and size of the inputs and outputs, and forget the shapes that the trace gave all other values.

    Only operators of :data:`PORTABLE` are left, and every Resize has constants that fit the declared shape.
    """
    batch, height, width = shape.batch or "batch", shape.height or "height", shape.width or "width"
    ends = (*model.graph.inputs, *model.graph.outputs)
    for value in ends:
        channels = _known_shape(value)[1]
        value.shape = ir.Shape((batch, channels, height, width))
    for node in model.graph:
        for value in node.outputs:
            if value not in ends:
                value.shape = None


def declare_opset(model: ir.Model, opset: int) -> None:
    """Declare an opset and the IR version that goes with it.

    torch's exporter writes opset 18; the operators of a U²-Net mean the same from 17 to 21. Raise ExportError if the
    graph has an operator for which this is not known.
    """
    unexpected = sorted({node.op_type for node in model.graph} - PORTABLE)
    if unexpected:
        raise ExportError(f"the graph has operators that no U²-Net has: {', '.join(unexpected)}")
    model.opset_imports[""] = opset
    model.ir_version = helper.find_min_ir_version_for([helper.make_opsetid("", opset)], ignore_unknown=True)
