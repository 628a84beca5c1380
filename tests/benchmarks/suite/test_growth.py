"""Covers benchmarks/suite/growth.py."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.export.conftest import DYNAMIC
from u2net.benchmarks.suite import growth
from u2net.benchmarks.suite.growth import growth_section, measure_growth
from u2net.benchmarks.suite.networks import find_network
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.export import ExportOptions


def test_time_and_memory_grow_until_the_bound_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Callable[[ExportOptions], Path]
) -> None:
    monkeypatch.setattr(
        growth, "export_model", lambda _checkpoint, path, _options: shutil.copy(exported(DYNAMIC), path)
    )
    monkeypatch.setattr(growth, "KEYS", ("onnxruntime-fp32",))
    monkeypatch.setattr(growth, "GROWTH_BATCHES", (1,))
    monkeypatch.setattr(growth, "GROWTH_SIDES", (64, 256, 1024))
    options = SuiteOptions(size=64, growth=0.3, work=tmp_path)

    points = list(measure_growth(find_network("u2netp", options), options))

    assert [(each.batch, each.side) for each in points] == [(1, 64), (1, 64), (1, 256), (1, 1024)]
    _, small, large, last = points
    assert small.median_ms and large.median_ms and large.median_ms > 2 * small.median_ms
    assert small.memory_mb and large.memory_mb and large.memory_mb > small.memory_mb
    assert last.median_ms is None and last.error.startswith("not run: it would take ")
    section = growth_section(points)
    assert section.table and [row[3] for row in section.table[1]] == ["64", "64", "256", "1024"]
    assert last.error in section.table[1][-1]
    assert {title.partition(": ")[2] for title in section.plots} == {
        f"{unit} against {name}" for unit in ("ms", "MB") for name in ("batch", "side")
    }
