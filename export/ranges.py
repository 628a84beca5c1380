"""Scan how far activations range, so that FP16 is used only where it holds them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from u2net.export.execution import open_graph
from u2net.runtime.preprocess import FloatArray

FP16_MAX = float(np.finfo(np.float16).max)
"""65,504: what lies above becomes infinite in FP16."""

HEADROOM = 4.0
"""How many times larger than on the calibration images an activation may become on others."""


@dataclass(frozen=True)
class Peak:
    """A value's largest magnitude on the calibration images, or an initializer's."""

    value: str
    magnitude: float


def scan_ranges(model: ir.Model, tensors: Sequence[FloatArray]) -> dict[str, float]:
    """Largest magnitude of the output of every node over the tensors, by value name; Inf where it was not finite."""
    session = open_graph(_with_probes(model))
    probes = [name for name in session.info.outputs if name.startswith(PROBE)]
    peaks: dict[str, float] = {}
    for tensor in tensors:
        for name, values in session.infer(tensor, probes).items():
            magnitude = float(values.max())
            value = name.removeprefix(PROBE)
            peaks[value] = max(peaks.get(value, 0.0), magnitude if np.isfinite(magnitude) else np.inf)
    return peaks


PROBE = "probe/"


def _with_probes(model: ir.Model) -> ir.Model:
    """A copy that also gives the largest magnitude of every value, as scalars: maps need not be kept."""
    probed = ir.from_proto(ir.to_proto(model))
    graph = probed.graph
    for node in list(graph):
        for value in node.outputs:
            absolute = ir.Node("", "Abs", [value])
            largest = ir.Node("", "ReduceMax", [absolute.outputs[0]], [ir.AttrInt64("keepdims", 1)])
            largest.outputs[0].name = f"{PROBE}{value.name}"
            largest.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            largest.outputs[0].shape = ir.Shape([1, 1, 1, 1])
            graph.extend([absolute, largest])
            graph.outputs.append(largest.outputs[0])
    return probed


def find_hot_values(model: ir.Model, peaks: dict[str, float]) -> list[Peak]:
    """Values, weights among them, that come within the headroom of FP16's range."""
    limit = FP16_MAX / HEADROOM
    hot = [Peak(name, magnitude) for name, magnitude in peaks.items() if magnitude > limit]
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT:
            magnitude = float(np.abs(tensor.numpy()).max(initial=0.0))
            if magnitude > FP16_MAX:
                hot.append(Peak(name, magnitude))
    return hot
