"""Covers running/contexts.py with TensorRT-RTX, which captures graphs itself and caches kernels beside the engine."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.trt.conftest import WriteEngine, check, noise
from tests.runtime.trt.fake_builder import HostMemory
from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import FakeTensorRT, RuntimeConfig
from u2net.runtime import Session, load


@pytest.mark.parametrize("graph", [True, False])
def test_only_the_library_captures_graphs(
    rtx: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, graph: bool
) -> None:
    with load(write_engine(rtx), "cuda:0", cuda_graph=graph) as session:
        assert session.info.backend == "tensorrt-rtx 1.7.1.116"
        for seed in range(4):
            check(session, noise(2, 3, 32, 32, seed=seed))

    (config,) = rtx.runtime_configs
    assert config.cuda_graph_strategy == rtx.CudaGraphStrategy["WHOLE_GRAPH_CAPTURE" if graph else "DISABLED"]
    assert config.dynamic_shapes_kernel_specialization_strategy == rtx.DynamicShapesKernelSpecializationStrategy.EAGER
    assert config.cache is config
    assert cuda.calls["cudaStreamBeginCapture"] == 0
    assert len(rtx.executed) == 4


def test_the_next_start_uses_the_cached_kernels(rtx: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(rtx)
    with load(path, "cuda:0") as session:
        for count in (1, 2, 1, 2):
            check(session, noise(count, 3, 32, 32))
    assert rtx.compiled == {(1, 3, 32, 32): 1, (2, 3, 32, 32): 1}

    rtx.compiled.clear()
    with load(path, "cuda:0") as session:
        for count in (1, 2):
            check(session, noise(count, 3, 32, 32))
        assert rtx.compiled == {}
        check(session, noise(3, 3, 32, 32))

    with load(path, "cuda:0") as session:
        for count in (1, 2, 3):
            check(session, noise(count, 3, 32, 32))
    assert rtx.compiled == {(3, 3, 32, 32): 1}
    assert path.with_name("model.engine.cache").is_file()


def test_a_cache_that_the_run_leaves_unchanged_is_not_written(
    rtx: FakeTensorRT, write_engine: WriteEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a process that reads its kernels from a read-only folder does not warn."""
    path = write_engine(rtx)
    with load(path, "cuda:0") as session:
        check(session, noise(1, 3, 32, 32))

    def refuse(_path: Path, _content: bytes) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with load(path, "cuda:0") as session:
        check(session, noise(1, 3, 32, 32))

    assert caplog.text == ""


def test_an_unwritable_folder_is_a_warning(
    rtx: FakeTensorRT, write_engine: WriteEngine, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_engine(rtx)
    path.with_name("model.engine.cache").mkdir()
    with load(path, "cuda:0") as session:
        for count in (1, 1, 1):
            check(session, noise(count, 3, 32, 32))

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "model.engine.cache cannot be written, so kernels are compiled at each start" in caplog.text


def test_the_cache_of_another_machine_is_replaced(
    rtx: FakeTensorRT, write_engine: WriteEngine, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_engine(rtx)
    cache = path.with_name("model.engine.cache")
    cache.write_bytes(b"of another driver")
    with load(path, "cuda:0") as session:
        check(session, noise(1, 3, 32, 32))

    assert f"{cache} is from another machine or version; kernels are compiled again" in caplog.text
    assert cache.read_bytes().startswith(b"CACHE")


def test_an_unreadable_cache_is_a_warning(
    rtx: FakeTensorRT, write_engine: WriteEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_engine(rtx)
    cache = path.with_name("model.engine.cache")
    cache.write_bytes(b"CACHE[]")
    read = Path.read_bytes

    def refuse(self: Path) -> bytes:
        if self == cache:
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with load(path, "cuda:0") as session:
        check(session, noise(1, 3, 32, 32))

    assert f"{cache} cannot be read" in caplog.text


def test_threads_write_the_cache_one_at_a_time(
    rtx: FakeTensorRT, write_engine: WriteEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_engine(rtx)
    write, meet = Path.write_bytes, threading.Barrier(4)
    serialize = RuntimeConfig.serialize

    def slow_write(self: Path, content: Any) -> int:
        size = write(self, content)
        threading.Event().wait(0.02)
        return size

    def different(self: RuntimeConfig) -> HostMemory:
        return serialize(self) + HostMemory(str(threading.get_ident()).encode())  # type: ignore[return-value]

    monkeypatch.setattr(Path, "write_bytes", slow_write)
    monkeypatch.setattr(RuntimeConfig, "serialize", different)

    def work(count: int) -> None:
        meet.wait(10)
        check(session, noise(count, 3, 32, 32))

    with load(path, "cuda:0") as session, ThreadPoolExecutor(4) as threads:
        list(threads.map(work, (1, 2, 3, 4)))

    assert caplog.text == ""
    assert {file.name for file in path.parent.glob("*.cache*")} == {"model.engine.cache"}


def test_the_full_tensorrt_keeps_no_cache(session: Session) -> None:
    check(session, noise(1, 3, 32, 32))

    assert not list(session.info.path.parent.glob("*.cache*"))
