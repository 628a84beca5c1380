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


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("content", [b"", b"no plan at all", bytes(100_000)])
@pytest.mark.usefixtures("engine")
def test_a_file_that_is_no_plan_and_has_no_record(tmp_path: Path, content: bytes) -> None:
    """Only TensorRT itself can recognize such a file, and it must not crash."""
    (tmp_path / "foreign.engine").write_bytes(content)

    with pytest.raises(ArtifactError):
        load(tmp_path / "foreign.engine", DEVICE, preset="reference")


def test_a_truncated_plan_without_a_record(copy: Path) -> None:
    copy.write_bytes(_truncate(copy.read_bytes()))
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
