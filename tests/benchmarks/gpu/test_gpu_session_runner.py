"""The runner of engines, on the fake CUDA and TensorRT of the runtime's tests."""

import gc
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda import bindings

from tests.runtime.trt.conftest import ARTIFACT, record_of
from tests.runtime.trt.fake_cuda import FakeCudaRuntime, Work, entry, errors
from tests.runtime.trt.fake_tensorrt import FakeTensorRT, expected
from u2net.benchmarks.gpu.arrays import read_array, write_array
from u2net.benchmarks.gpu.gpu_memory import free_bytes
from u2net.benchmarks.gpu.protocol import Close, Infer, Open, Time
from u2net.benchmarks.gpu.session_runner import SessionRunner
from u2net.benchmarks.gpu.targets import CLOCKS
from u2net.benchmarks.gpu.worker import Worker
from u2net.runtime.device import Device
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.profiles import Profile
from u2net.runtime.trt.record import write_engine

BATCHES = (1, 2)
TICK = 0.25
"""Milliseconds that a run takes on this GPU."""


class TimedCuda(FakeCudaRuntime):
    """Also tells free memory, and times: an event's is the number of runs that are done before it."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0
        self.times: dict[int, int] = {}

    def floats(self, address: int, shape: tuple[int, ...]) -> FloatArray:
        self.runs += shape[1] == 3  # each run looks once at its input
        return super().floats(address, shape)

    def cudaMemGetInfo(self) -> tuple[Any, int, int]:
        return errors.cudaSuccess, 700, 1000

    @entry
    def cudaEventRecord(self, event: Any, stream: Any) -> None:
        FakeCudaRuntime.cudaEventRecord.__wrapped__(self, event, stream)  # type: ignore[attr-defined]
        number = int(event)
        self._stream(stream).queue.append(Work(lambda: self.times.update({number: self.runs})))

    @entry
    def cudaEventElapsedTime(self, start: Any, end: Any) -> Any:
        if int(start) not in self.times or int(end) not in self.times:
            self.complain("the time of an event that has not happened")
        return (self.times[int(end)] - self.times[int(start)]) * TICK


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[TimedCuda]:
    """The fake in the place of cuda-bindings; afterwards nothing is left over."""
    fake = TimedCuda()
    monkeypatch.setattr(bindings, "runtime", fake)
    open_cuda.cache_clear()
    yield fake
    open_cuda.cache_clear()
    gc.collect()
    assert fake.complaints == []
    assert fake.leaks() == []


@pytest.fixture
def trt(cuda: TimedCuda, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """The full TensorRT."""
    module = FakeTensorRT(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.fixture
def engine(trt: FakeTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine with a profile for each batch, and the input of a worker beside it."""
    monkeypatch.chdir(tmp_path)
    profiles = tuple(Profile.from_shapes([(batch, 3, 32, 32)] * 3) for batch in BATCHES)
    plan = trt.make_plan(profiles=[profile.shapes() for profile in profiles])
    path = tmp_path / "model.engine"
    artifact = replace(ARTIFACT, preset=PRESETS["reference"].with_size(32, 32))
    write_engine(path, plan, record_of(plan, version=trt.__version__, profiles=profiles, artifact=artifact))
    return path


def noise(batch: int) -> FloatArray:
    return np.random.default_rng(batch).random((batch, 3, 32, 32), dtype=np.float32)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_an_engine_is_run_on_both_clocks(engine: Path, cuda: TimedCuda, batch: int, cuda_graph: bool) -> None:
    tensor = noise(batch)
    runner = SessionRunner(Open("a", "session", engine.name, "cuda:0", "", cuda_graph=cuda_graph), tensor)
    for _ in range(4):
        np.testing.assert_allclose(runner.infer(tensor), expected(tensor), rtol=1e-6)
    launches = cuda.calls["cudaGraphLaunch"]
    times = runner.time_device(5, 3)

    assert times == [TICK / 1e3] * 5, "one run between two events"
    assert (launches > 0) == (cuda.calls["cudaGraphLaunch"] > launches) == cuda_graph
    np.testing.assert_allclose(runner.infer(tensor), expected(tensor), rtol=1e-6)
    assert "Fake GPU" in runner.provider


def test_runs_are_enqueued_without_waiting(engine: Path, cuda: TimedCuda) -> None:
    """Else the time would be of the processor that waits, not of the GPU."""
    runner = SessionRunner(Open("a", "session", engine.name, "cuda:0", "", cuda_graph=True), noise(1))
    runner.time_device(1, 3)
    waits = cuda.calls["cudaStreamSynchronize"] + cuda.calls["cudaDeviceSynchronize"]
    runner.time_device(50, 3)

    assert cuda.calls["cudaStreamSynchronize"] + cuda.calls["cudaDeviceSynchronize"] <= waits + 1


def test_a_worker_measures_an_engine(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([900_000_000, 600_000_000, 900_000_000])
    monkeypatch.setattr("u2net.benchmarks.gpu.worker.free_bytes", lambda _device, **_options: next(free))
    write_array(tmp_path / "input.npz", noise(2))
    write_array(tmp_path / "pictures.npz", noise(5))
    worker = Worker()
    opened = worker.do(Open("a", "session", engine.name, "cuda:0", "input.npz", cuda_graph=True))
    worker.do(Infer("a", "pictures.npz", "maps.npz"))
    device, wall = (worker.do(Time("a", clock, 3, 1))["seconds"] for clock in CLOCKS)
    worker.do(Close("a"))

    assert opened["memory_mb"] == 300
    np.testing.assert_allclose(read_array(tmp_path / "maps.npz"), expected(noise(5)), rtol=1e-6)
    assert len(device) == len(wall) == 3


def test_free_memory_is_read_without_torch(cuda: TimedCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    assert free_bytes(Device("cuda")) == 700
    assert cuda.calls["cudaSetDevice"] == 1
    assert free_bytes(Device("cpu")) is None
