"""Scan the ranges of activations, to find the values that FP16 cannot hold."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from u2net.export.execution import open_graph
from u2net.runtime.preprocess import FloatArray

FP16_MAX = float(np.finfo(np.float16).max)
"""65,504, the largest finite value of FP16."""

HEADROOM = 4.0
"""Factor by which an activation may be larger on other images than on the calibration images."""

PROBE_PREFIX = "probe/"
"""Prefix of the outputs that give the largest magnitude of a value."""


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
    probed = ir.from_proto(ir.to_proto(model))
    graph = probed.graph
    for node in list(graph):
        for value in node.outputs:
            absolute = ir.node("Abs", [value])
            largest = ir.node("ReduceMax", absolute.outputs, {"keepdims": 1})
            largest.outputs[0].name = f"{PROBE_PREFIX}{value.name}"
            largest.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            largest.outputs[0].shape = ir.Shape([1, 1, 1, 1])
            graph.extend([absolute, largest])
            graph.outputs.append(largest.outputs[0])
    return probed


def find_hot_values(model: ir.Model, tensors: Sequence[FloatArray]) -> set[str]:
    """Return the names of the values that FP16 may not hold: activations on the tensors, and weights."""
    hot = {name for name, magnitude in scan_ranges(model, tensors).items() if magnitude > FP16_MAX / HEADROOM}
    weights = {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.dtype == ir.DataType.FLOAT and value.const_value is not None
    }
    return hot | {name for name, numbers in weights.items() if np.abs(numbers).max(initial=0.0) > FP16_MAX}
