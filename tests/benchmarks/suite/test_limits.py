"""Covers benchmarks/suite/limits.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from u2net.benchmarks.suite.contestants import Contestant
from u2net.benchmarks.suite.limits import Ceilings, count_gigaflops, count_work, find_arithmetic, least_seconds
from u2net.export import ExportOptions
from u2net.runtime.device import CPU, CUDA, Device


def test_the_work_of_u2netp_is_what_its_paper_size_takes(exported: Callable[[ExportOptions], Path]) -> None:
    path = exported(ExportOptions())

    one, two = (count_work(path, batch) for batch in (1, 2))

    assert count_gigaflops(path) == pytest.approx(39.5, abs=0.05)
    assert two[:, 0].sum() == 2 * one[:, 0].sum()
    assert one[:, 1].sum() * 2 / 1e6 == pytest.approx(207, abs=1)
    assert len(one) == 119


def test_each_layer_takes_the_longer_of_arithmetic_and_traffic() -> None:
    work = np.array([(100.0, 10.0), (10.0, 100.0)])

    assert least_seconds(work, Ceilings(flops=10, bytes=40), 4) == 100 / 10 + 400 / 40


@pytest.mark.parametrize(
    ("precision", "device", "arithmetic"),
    [
        ("fp32", CPU, "fp32"),
        ("fp16", CPU, "fp32"),
        ("bf16", CPU, "bf16"),
        ("fp32", CUDA, "tf32"),
        ("fp16", CUDA, "fp16"),
    ],
)
def test_a_contestant_is_measured_against_the_arithmetic_it_uses(
    precision: str, device: Device, arithmetic: str
) -> None:
    contestant = Contestant("key", "title", "file", "fp32", precision)

    assert find_arithmetic(contestant, device) == arithmetic
