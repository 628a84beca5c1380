"""The distance to the limit: the arithmetic and the traffic of a graph, and what the machine can do at most."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from u2net.benchmarks.suite.contestants import EXACT, Contestant
from u2net.benchmarks.suite.rows import Row
from u2net.runtime.device import Device

SECONDS = 1.0
"""Seconds for which each product or copy is repeated; the fastest run counts."""
MATRIX_SIDES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192)}
"""Rows and columns of the matrices, of which the fastest counts."""
COPIED = {"cpu": 1 << 26, "cuda": 1 << 30}
"""Bytes of the copy."""
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Arithmetics whose ceilings are measured, with the type of their values."""

Work = npt.NDArray[np.float64]
"""A row for each convolution: multiplications and additions, and values read and written, weights included."""


@dataclass(frozen=True)
class Ceilings:
    """What the machine reached in this run."""

    flops: float
    """Floating-point operations a second of a large matrix product."""
    bytes: float
    """Bytes a second of a large copy, reads and writes counted."""


def measure_ceilings(device: str, arithmetic: str, threads: int | None) -> Ceilings:
    """Measure a matrix product and a copy; each is the best of several runs."""
    if threads is not None:
        torch.set_num_threads(threads)
    place = torch.device(device)
    torch.backends.cuda.matmul.allow_tf32 = arithmetic == "tf32"
    with torch.inference_mode():
        source = torch.zeros(COPIED[place.type], dtype=torch.uint8, device=place)
        target = torch.empty_like(source)
        copied = 2 * len(source) / _best_seconds(lambda: target.copy_(source), place)
        flops = 0.0
        for side in MATRIX_SIDES[place.type]:
            left, right = torch.randn(2, side, side, device=place).to(DTYPES[arithmetic])
            product = torch.empty_like(left)
            seconds = _best_seconds(partial(torch.mm, left, right, out=product), place)
            flops = max(flops, 2 * side**3 / seconds)
            if seconds > SECONDS / 4:  # the next one would take eight times as long
                break
        return Ceilings(flops, copied)


def _best_seconds(run: Callable[[], object], place: torch.device) -> float:
    seconds = list[float]()
    while sum(seconds) < SECONDS or len(seconds) < 2:  # the first one starts libraries
        started = time.perf_counter()
        run()
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def count_work(path: Path, batch: int) -> Work:
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
        found.append((2 * prod(kernel[1:]) * prod(maps), sum(map(prod, tensors))))
    return np.array(found, np.float64)


def count_gigaflops(path: Path) -> float:
    """Count the work of a graph's convolutions for one image."""
    return float(count_work(path, 1)[:, 0].sum()) / 1e9


def find_arithmetic(contestant: Contestant, device: Device) -> str:
    """Return the precision that a contestant computes in, which has a ceiling if it is in :data:`DTYPES`."""
    precision = contestant.precision
    if device.kind == "cuda":
        return "tf32" if precision == "fp32" and contestant.key != EXACT else precision
    return "fp32" if precision == "fp16" else precision  # FP16 graphs run in FP32 there


def least_seconds(work: Work, ceilings: Ceilings, value_bytes: int) -> float:
    """Return the time that arithmetic or traffic needs, whichever takes longer, summed over convolutions."""
    return float(np.maximum(work[:, 0] / ceilings.flops, work[:, 1] * value_bytes / ceilings.bytes).sum())


def set_shares(rows: Iterable[Row], work: Work, ceilings: Mapping[str, Ceilings], device: Device) -> None:
    """Set each row's share of the limit, where its arithmetic has a ceiling."""
    for row in rows:
        arithmetic = find_arithmetic(row.contestant, device)
        measured = row.device or row.wall
        if measured is not None and arithmetic in ceilings:
            least = least_seconds(work, ceilings[arithmetic], DTYPES[arithmetic].itemsize)
            row.limit_share = 1e3 * least / measured.median_ms
