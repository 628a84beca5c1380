"""Stale and damaged engines on a real GPU."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gpu.conftest import DEVICE, Graphs
from u2net.runtime import (
    ArtifactError,
    DeviceError,
    load,
)
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.record import EngineRecord, read_record, record_path
from u2net.runtime.trt.running.contexts import CACHE_SUFFIX

pytestmark = pytest.mark.gpu


@pytest.fixture
def copy(engine: Path, tmp_path: Path) -> Path:
    """A copy of the engine's folder, for tests that damage it."""
    shutil.copytree(engine.parent, tmp_path / "copy")
    return tmp_path / "copy" / engine.name


def change_record(path: Path, **changes: Any) -> None:
    record = read_record(path)
    assert isinstance(record, EngineRecord)
    record_path(path).write_text(replace(record, **changes).to_json(), encoding="utf-8")


def test_a_stale_engine_is_rebuilt_on_request(copy: Path, graphs: Graphs, caplog: pytest.LogCaptureFixture) -> None:
    change_record(copy, version="1.2.3")
    with caplog.at_level(logging.WARNING, "u2net.tensorrt"), load(copy, DEVICE, rebuild=True) as session:
        maps = session.infer(graphs.pictures[:1])["d0"]

        assert session.info.rebuilt is not None and "1.2.3" in session.info.rebuilt
    assert "again" in caplog.text
    assert np.abs(maps - graphs.maps[:1]).mean() <= 2e-3
    with load(copy, DEVICE) as session:
        assert session.info.rebuilt is None


@pytest.mark.parametrize("content", [b"", b"no plan at all", bytes(100_000), None])
def test_half_a_plan_or_none_without_a_record_is_refused(copy: Path, content: bytes | None) -> None:
    """Only TensorRT itself can recognize such a file, and it must not crash."""
    whole = copy.read_bytes()
    copy.write_bytes(whole[: len(whole) // 2] if content is None else content)
    record_path(copy).unlink()

    with pytest.raises(ArtifactError):
        load(copy, DEVICE, preset="reference")


def test_a_plan_without_a_record_runs_with_a_named_preset(
    copy: Path, graphs: Graphs, caplog: pytest.LogCaptureFixture
) -> None:
    record_path(copy).unlink()
    with caplog.at_level(logging.WARNING, "u2net.tensorrt"), load(copy, DEVICE, preset="reference") as session:
        maps = session.infer(graphs.pictures[:1])["d0"]

    assert "no record" in caplog.text
    assert np.abs(maps - graphs.maps[:1]).mean() <= 1e-3


@pytest.mark.parametrize("device", ["cpu", "cuda:99"])
def test_a_device_that_cannot_run_it(engine: Path, device: str) -> None:
    with pytest.raises(DeviceError, match=r"needs a GPU|is not there"):
        load(engine, device)


def test_rtx_caches_its_kernels_and_survives_a_damaged_cache(
    copy: Path, options: EngineOptions, graphs: Graphs
) -> None:
    if options.flavour != "tensorrt-rtx":
        pytest.skip("only TensorRT-RTX compiles kernels where it runs")
    cache = copy.with_name(copy.name + CACHE_SUFFIX)
    cache.unlink(missing_ok=True)
    with load(copy, DEVICE) as session:
        wanted = session.infer(graphs.pictures[:1])["d0"]
    assert cache.stat().st_size > 0

    for content in (cache.read_bytes(), b"no cache", b""):
        cache.write_bytes(content)
        with load(copy, DEVICE) as session:
            np.testing.assert_allclose(session.infer(graphs.pictures[:1])["d0"], wanted, atol=1e-6)
