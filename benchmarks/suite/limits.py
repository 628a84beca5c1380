"""The distance to the limit: the arithmetic and the traffic of a graph, and what the machine can do at most."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx

from u2net.benchmarks.suite.ceilings import Ceilings
from u2net.benchmarks.suite.contestants import EXACT, Contestant
from u2net.runtime.device import Device

VALUE_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}
"""Arithmetics whose ceilings are measured, with the bytes of a value."""


@dataclass(frozen=True)
class LayerWork:
    """Minimum work of one convolution for one batch."""

    flops: float
    """Multiplications and additions."""
    values: float
    """Values read and written, weights included; in bytes after multiplication by the size of one."""


def count_work(path: Path, batch: int) -> list[LayerWork]:
    """Count the work of each convolution in a graph of fixed size at a batch size.

    Other nodes count nothing, because a good runtime fuses them into their neighbours.
    """
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {each.name: list(each.dims) for each in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [side.dim_value or batch for side in value.type.tensor_type.shape.dim]
    found = []
    for node in (each for each in graph.node if each.op_type == "Conv"):
        tensors = [shapes[name] for name in (*node.input, *node.output)]
        kernel, maps = tensors[1], tensors[-1]  # outputs × inputs of a group × height × width; N×C×H×W
        found.append(LayerWork(2.0 * prod(kernel[1:]) * prod(maps), float(sum(map(prod, tensors)))))
    return found


def count_gigaflops(path: Path) -> float:
    """Count the work of a graph's convolutions for one image."""
    return sum(layer.flops for layer in count_work(path, 1)) / 1e9


def find_arithmetic(contestant: Contestant, device: Device) -> str:
    """Return the precision that a contestant computes in, which has a ceiling if it is in :data:`VALUE_BYTES`."""
    precision = contestant.precision
    if device.kind == "cuda":
        return "tf32" if precision == "fp32" and contestant.key != EXACT else precision
    return "fp32" if precision == "fp16" else precision  # FP16 graphs run in FP32 there


def least_seconds(work: Sequence[LayerWork], ceilings: Ceilings, value_bytes: int) -> float:
    """Return the time that arithmetic or traffic needs, whichever takes longer, summed over convolutions."""
    return sum(max(layer.flops / ceilings.flops, layer.values * value_bytes / ceilings.bytes) for layer in work)
