"""What a machine can do at most, measured in PyTorch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

SECONDS = 1.0
"""Seconds for which each product or copy is repeated; the fastest run counts."""
MATRIX_SIDES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192)}
"""Rows and columns of the matrices, of which the fastest counts."""
COPIED = {"cpu": 1 << 26, "cuda": 1 << 30}
"""Bytes of the copy."""
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
