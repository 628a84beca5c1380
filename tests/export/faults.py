"""Faults that a broken export could have, to inject into a correct graph; the parity gate must catch each."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from u2net.export.graph import add_initializer, make_cast, read_graph
from u2net.model.checkpoint import Checkpoint
from u2net.runtime.artifact import METADATA_KEY, Artifact

Array = npt.NDArray[Any]
Fault = Callable[[ir.Model], None]

COORDINATES = "coordinate_transformation_mode"
COARSEST = "upsample_side6"
"""The Resize of the coarsest side map; of all 38 it affects the outputs least."""

FIRST_WEIGHT = "stage1.rebnconvin.conv_s1.weight"


def _node(model: ir.Model, name: str) -> ir.Node:
    return next(node for node in model.graph if node.name == name)


def _nodes(model: ir.Model, kind: str) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == kind]


def change_initializer(model: ir.Model, name: str, change: Callable[[Array], Array]) -> None:
    """Change an initializer's numbers; in an FP16 graph its name has a suffix."""
    value = model.graph.initializers.get(name) or model.graph.initializers[f"{name}.fp16"]
    assert value.const_value is not None
    before = value.const_value.numpy()
    value.const_value = ir.tensor(change(before.copy()).astype(before.dtype), name=value.name)


def inject(source: Path, fault: Fault, target: Path) -> Path:
    """Write a copy of a model file with a fault in it."""
    model = read_graph(source)
    fault(model)
    ir.save(model, target)
    return target


def change_resizes(model: ir.Model, attribute: str, value: str, name: str = "") -> None:
    """Set an attribute of the named Resize, or of all."""
    for node in _nodes(model, "Resize"):
        if name in ("", node.name):
            node.attributes.add(ir.AttrString(attribute, value))


def _edit_preset(model: ir.Model, **changes: Any) -> None:
    artifact = Artifact.from_json(model.metadata_props[METADATA_KEY])
    preset = replace(artifact.preset, **changes)
    model.metadata_props[METADATA_KEY] = replace(artifact, preset=preset).to_json()


def _change_kind(node: ir.Node, kind: str) -> None:
    node.op_type = kind


def weights_rounded_to_8_bit(model: ir.Model) -> None:
    def change(weight: Array) -> Array:
        step = float(np.abs(weight).max()) / 127
        rounded: Array = np.round(weight / step) * step
        return rounded

    for name in list(model.graph.initializers):
        if ".weight" in name:
            change_initializer(model, name, change)


def side_map_for_fused(model: ir.Model) -> None:
    """d1 under the name of d0."""
    sigmoid = _nodes(model, "Sigmoid")[0]
    sigmoid.replace_input_with(0, _node(model, "side1").outputs[0])


def doubled_sigmoid(model: ir.Model) -> None:
    first = _nodes(model, "Sigmoid")[0]
    again = ir.Node("", "Sigmoid", [first.inputs[0]], name="again")
    again.outputs[0].type = first.outputs[0].type
    model.graph.insert_before(first, again)
    first.replace_input_with(0, again.outputs[0])


def swapped_concat(model: ir.Model) -> None:
    concat = next(node for node in _nodes(model, "Concat") if str(node.name).startswith("stage2d."))
    first, second = concat.inputs
    concat.replace_input_with(0, second)
    concat.replace_input_with(1, first)


def missing_residual(model: ir.Model) -> None:
    add = _node(model, "stage5.add")
    add.replace_input_with(1, add.inputs[0])


def undilated(model: ir.Model) -> None:
    conv = _node(model, "stage5.rebnconv4.conv_s1")
    conv.attributes.add(ir.AttrInt64s("dilations", [1, 1]))
    conv.attributes.add(ir.AttrInt64s("pads", [1, 1, 1, 1]))


def average_for_max_pooling(model: ir.Model) -> None:
    for node in _nodes(model, "MaxPool"):
        node.op_type = "AveragePool"
        for name in ("dilations", "storage_order"):
            node.attributes.pop(name, None)


def overflow(model: ir.Model) -> None:
    """Scale an activation beyond 65,504, pass it through FP16 and scale it back: Inf, and NaN where two Infs meet."""
    value = _node(model, "stage1.rebnconv2.relu_s1").outputs[0]
    users = list(value.uses())
    dtype = np.float32 if value.dtype == ir.DataType.FLOAT else np.float16
    for name, factor in (("grow", 60000.0), ("shrink", 1 / 60000.0)):
        number = add_initializer(model.graph, name, np.array(factor, dtype))
        product = ir.Node("", "Mul", [value, number], name=name)
        product.outputs[0].type = value.type
        value = _insert_after(model, value, product)
        if name == "grow" and value.dtype == ir.DataType.FLOAT:
            for wanted in (ir.DataType.FLOAT16, ir.DataType.FLOAT):
                value = _insert_after(model, value, make_cast(value, wanted))
    for use in users:
        use.node.replace_input_with(use.idx, value)


def _insert_after(model: ir.Model, value: ir.Value, node: ir.Node) -> ir.Value:
    producer = value.producer()
    assert producer is not None
    model.graph.insert_after(producer, node)
    return node.outputs[0]


FAULTS: dict[str, Fault] = {
    "align_corners": lambda model: change_resizes(model, COORDINATES, "align_corners"),
    "align_corners_once": lambda model: change_resizes(model, COORDINATES, "align_corners", COARSEST),
    "asymmetric": lambda model: change_resizes(model, COORDINATES, "asymmetric"),
    "nearest": lambda model: change_resizes(model, "mode", "nearest"),
    "nearest_once": lambda model: change_resizes(model, "mode", "nearest", COARSEST),
    "cubic": lambda model: change_resizes(model, "mode", "cubic"),
    "swapped_channels": lambda model: change_initializer(model, FIRST_WEIGHT, lambda weight: weight[:, ::-1]),
    "transposed_kernel": lambda model: change_initializer(model, FIRST_WEIGHT, lambda weight: weight.swapaxes(2, 3)),
    "flipped_kernel": lambda model: change_initializer(
        model, "stage3.rebnconv2.conv_s1.weight", lambda weight: weight[:, :, :, ::-1]
    ),
    "dropped_bias": lambda model: change_initializer(model, "stage4.rebnconv1.conv_s1.bias", np.zeros_like),
    "dropped_fusion_bias": lambda model: change_initializer(model, "outconv.bias", np.zeros_like),
    "weights_off_by_one_percent": lambda model: change_initializer(
        model, "stage2.rebnconv3.conv_s1.weight", lambda weight: weight * 1.01
    ),
    "one_filter_off": lambda model: change_initializer(
        model, "stage1d.rebnconv1d.conv_s1.weight", lambda weight: np.concatenate([weight[:1] * 1.1, weight[1:]])
    ),
    "weights_rounded_to_8_bit": weights_rounded_to_8_bit,
    "side_map_for_fused": side_map_for_fused,
    "logits_for_probabilities": lambda model: _change_kind(_nodes(model, "Sigmoid")[0], "Identity"),
    "doubled_sigmoid": doubled_sigmoid,
    "swapped_concat": swapped_concat,
    "missing_residual": missing_residual,
    "missing_relu": lambda model: _change_kind(_node(model, "stage3.rebnconv1.relu_s1"), "Identity"),
    "undilated": undilated,
    "average_for_max_pooling": average_for_max_pooling,
    "wrong_mean": lambda model: _edit_preset(model, mean=(0.5, 0.5, 0.5)),
    "wrong_std": lambda model: _edit_preset(model, std=(0.225, 0.225, 0.225)),
    "wrong_divisor": lambda model: _edit_preset(model, divisor="255"),
    "wrong_kernel": lambda model: _edit_preset(model, kernel="lanczos"),
    "inverted_mask": lambda model: _edit_preset(model, invert=True),
    "unstretched_mask": lambda model: _edit_preset(model, stretch=False),
    "overflow": overflow,
}
"""Faults that are injected into a finished graph, by name."""


def floor_for_ceil(checkpoint: Checkpoint) -> Checkpoint:
    """Make pools drop an odd last row, before the export; this shows only at sizes that are not multiples of 32."""
    network = copy.deepcopy(checkpoint.network)
    for module in network.modules():
        if isinstance(module, torch.nn.MaxPool2d):
            module.ceil_mode = False
    return replace(checkpoint, network=network)
