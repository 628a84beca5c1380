"""Covers benchmarks/suite/gpu.py, engines.py, gpu_state.py and the report, on a simulated CUDA and TensorRT."""

import gc
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda import bindings

from tests.benchmarks.suite.simulated_gpu import TICK, TimedCuda, simulate
from tests.runtime.trt.conftest import ARTIFACT, record_of
from tests.runtime.trt.fake_tensorrt import FakeTensorRT, expected
from u2net.benchmarks.machine import Machine
from u2net.benchmarks.suite import cells, engines, inputs, suite
from u2net.benchmarks.suite.contestants import EAGER, HERE, TensorRT, list_contestants
from u2net.benchmarks.suite.engines import make_engines
from u2net.benchmarks.suite.gpu_state import GpuState, read_gpu_state
from u2net.benchmarks.suite.networks import NetworkFiles, find_network, make_graphs
from u2net.benchmarks.suite.openers import OPENERS
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.report import suite_page
from u2net.benchmarks.suite.rows import Row
from u2net.benchmarks.suite.suite import SuiteReport, run_suite
from u2net.benchmarks.suite.worker import Bench
from u2net.benchmarks.suite.workers import Worker
from u2net.runtime.device import CUDA, Device
from u2net.runtime.loading import load
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.presets import PRESETS, Preset
from u2net.runtime.session import Session
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.profiles import Profile
from u2net.runtime.trt.record import write_engine

SIZE = 128
BATCHES = (1, 2)
ENGINE = "tensorrt-8.6.1"
SIMULATED = "u2net.tests.benchmarks.suite.simulated_gpu"
MACHINE = Machine("processor", 2, "Linux", "3.11", "Fake GPU", {})
PRESET = PRESETS["reference"].with_size(SIZE, SIZE)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TimedCuda, FakeTensorRT]]:
    """The simulation in this process; afterwards nothing is left over."""
    cuda, trt = simulate(partial(monkeypatch.setitem, sys.modules))
    monkeypatch.setattr(bindings, "runtime", cuda)
    open_cuda.cache_clear()
    yield cuda, trt
    open_cuda.cache_clear()
    gc.collect()
    assert cuda.complaints == []
    assert cuda.leaks() == []


@pytest.fixture
def engine(simulated: tuple[TimedCuda, FakeTensorRT], tmp_path: Path) -> Path:
    """An engine with a profile for each batch."""
    trt, path = simulated[1], tmp_path / "model.engine"
    profiles = tuple(Profile.from_shapes([(batch, 3, SIZE, SIZE)] * 3) for batch in BATCHES)
    plan = trt.make_plan(profiles=[profile.shapes() for profile in profiles])
    artifact = replace(ARTIFACT, preset=PRESET)
    write_engine(path, plan, record_of(plan, version=trt.__version__, profiles=profiles, artifact=artifact))
    return path


def noise(batch: int) -> FloatArray:
    return np.random.default_rng(batch).random((batch, 3, SIZE, SIZE), dtype=np.float32)


def opened(engine: Path, batch: int, graph: bool) -> Bench:
    bench = Bench()
    found = bench.open("file", str(engine), "cuda:0", noise(batch), threads=None, cuda_graph=graph)
    assert found["device_note"] == ""
    return bench


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("graph", [False, True])
def test_an_engine_is_timed_by_both_clocks(
    engine: Path, simulated: tuple[TimedCuda, FakeTensorRT], batch: int, graph: bool
) -> None:
    cuda = simulated[0]
    bench = opened(engine, batch, graph)
    launches = cuda.calls["cudaGraphLaunch"]
    found = bench.time(5, 3)

    assert found["device"] == [TICK / 1e3] * 5, "one run between two events"
    assert len(found["wall"]) == 5 and min(found["wall"]) > 0
    assert (cuda.calls["cudaGraphLaunch"] > launches) == graph
    np.testing.assert_allclose(bench.infer(noise(batch)), expected(noise(batch)), rtol=1e-6)


def test_runs_on_the_device_are_enqueued_without_waiting(
    engine: Path, simulated: tuple[TimedCuda, FakeTensorRT]
) -> None:
    """Else the time would be of the processor that waits, not of the GPU."""
    calls = simulated[0].calls
    bench = opened(engine, 1, graph=True)
    timer = bench._timer
    assert timer is not None
    waits = calls["cudaStreamSynchronize"] + calls["cudaDeviceSynchronize"]
    timer.time(50, 3)

    assert calls["cudaStreamSynchronize"] + calls["cudaDeviceSynchronize"] <= waits + 1


def test_a_session_without_device_arrays_says_so(small_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without a driver for cuda-bindings, wall time alone is taken."""

    def open_as_on_a_gpu(file: Path, _device: Device, preset: Preset, **options: Any) -> Session:
        session = load(file, preset=preset, **options)
        session.info = replace(session.info, device=CUDA)
        return session

    monkeypatch.setitem(OPENERS, "file", open_as_on_a_gpu)
    monkeypatch.setattr(bindings, "runtime", TimedCuda())
    tensor = np.zeros((1, 3, 160, 160), np.float32)
    open_cuda.cache_clear()
    found = Bench().open("file", str(small_onnx), "cuda", tensor)
    assert found["device_note"].startswith("onnxruntime ") and "takes NumPy arrays" in found["device_note"]

    bindings.runtime.driver = 12000
    open_cuda.cache_clear()
    bench = Bench()
    found = bench.open("file", str(small_onnx), "cuda", tensor)
    open_cuda.cache_clear()

    assert found["device_note"].startswith("the NVIDIA driver is for CUDA 12.0")
    assert (found["gpu_memory_mb"], list(bench.time(1, 0))) == (None, ["wall"])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> NetworkFiles:
    options = SuiteOptions(size=SIZE, work=tmp_path_factory.mktemp("gpu"))
    return make_graphs(find_network("u2netp", options), {"fp16"}, options)


@pytest.fixture(scope="module")
def options(network: NetworkFiles) -> SuiteOptions:
    """A short run in the folder of the graphs."""
    return SuiteOptions(
        device=CUDA,
        networks=("u2netp",),
        batches=(1,),
        size=SIZE,
        contestants=(ENGINE, f"{ENGINE}-graph", f"{ENGINE}-images", "tensorrt-99"),
        rounds=2,
        callers=(1,),
        pythons={"tensorrt": sys.executable},
        work=network.folder,
    )


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    """Every worker is on the simulated GPU, and the machine has one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "Worker", partial(Worker, module=SIMULATED))
        patch.setattr(engines, "Worker", partial(Worker, module=SIMULATED))
        patch.setattr(suite, "describe_machine", lambda _device: MACHINE)
        patch.setattr(suite, "_measure_ceilings", lambda _options: {})
        patch.setattr(inputs, "PICTURE_SIZES", ((90, 120),))
        yield patch


@pytest.fixture(scope="module")
def report(options: SuiteOptions, patch: pytest.MonkeyPatch) -> SuiteReport:
    """The whole run on the simulated GPU."""
    del patch
    known: list[SuiteReport] = []
    report = run_suite(options, known=known.append)
    assert [len(each.layers) for each in known] == [0, 2], "after the cell, then with the layers"
    return report


def rows_of(report: SuiteReport, *keys: str) -> list[Row]:
    return [row for row in report.rows if row.contestant.key in keys]


def test_engines_run_by_both_clocks(report: SuiteReport) -> None:
    rows = rows_of(report, ENGINE, f"{ENGINE}-graph", f"{ENGINE}-images")

    assert len(rows) == 3
    for row in rows:
        assert row.error == ""
        assert row.device is not None and row.device.median_ms == TICK
        assert row.wall is not None and row.runs >= 2
        assert row.gpu_memory_mb is not None and row.gpu_memory_mb > 0
        assert set(row.cold) == {"import", "build", "open", "first_run"}
        assert row.fidelity_note == "the reference did not run"
    assert [load.contexts for row in rows for load in row.load] == [4] * 3


def test_what_is_not_here_says_why(report: SuiteReport) -> None:
    eager, absent = rows_of(report, EAGER, "tensorrt-99")

    assert eager.error.startswith("opening: DeviceError: cuda:0 was asked for")
    assert absent.error == "not here: no Python searched has this TensorRT; name another with --python tensorrt=PATH"


def test_the_page_has_the_gpu_s_section(report: SuiteReport) -> None:
    page = suite_page(report).markdown()

    assert "| tensorrt 8.6.1 FP16, CUDA graph | u2netp | 1 | 0.25 |" in page
    assert "- nvidia-smi does not tell clocks and power: " in page
    assert f"- u2netp-{SIZE}.{ENGINE}.engine, Fake GPU" in page and "Slowest: mean 0.250 ms" in page


def build(network: NetworkFiles, options: SuiteOptions) -> dict[str, str]:
    """Make the engine; returns what could not be made, by file name."""
    found = [TensorRT("tensorrt", "8.6.1", HERE)]
    contestants = list_contestants(CUDA, found, (ENGINE,))
    made = make_engines(
        network, contestants, found, "Fake GPU", options=options, pictures=(), say=lambda _message: None
    )
    return {path.name: why for path, why in made.missing.items()}


@pytest.mark.usefixtures("report")
def test_an_engine_of_an_earlier_run_is_used_again(
    network: NetworkFiles, options: SuiteOptions, patch: pytest.MonkeyPatch
) -> None:
    path = network.folder / f"u2netp-{SIZE}.{ENGINE}.engine"
    before = path.stat().st_mtime_ns
    with patch.context() as none:
        none.setattr(engines, "Worker", None)
        assert build(network, options) == {}
    assert path.stat().st_mtime_ns == before

    assert build(network, replace(options, batches=(2,))) == {}
    assert path.stat().st_mtime_ns > before, "an engine of other batch sizes is built anew"


@pytest.mark.usefixtures("patch")
@pytest.mark.parametrize(
    ("level", "minutes", "why"),
    [(5, 0.02, "gave no answer within 1 s and was ended"), (4, 5.0, "OutOfMemoryError: ")],
)
def test_a_build_that_fails_or_never_ends_is_told(
    network: NetworkFiles, options: SuiteOptions, level: int, minutes: float, why: str
) -> None:
    told = build(network, replace(options, opt_level=level, build_minutes=minutes))

    assert list(told) == [f"u2netp-{SIZE}.{ENGINE}.engine"]
    assert told[f"u2netp-{SIZE}.{ENGINE}.engine"].startswith(f"building the engine: {why}")


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("1980, 3201, 412.5, 61, 0x0000000000000000", GpuState(1980, 3201, 412.5, 61, ())),
        ("900, 3201, 700, 88, 0x24", GpuState(900, 3201, 700, 88, ("slowed by the power limit", "slowed by heat"))),
        ("1980, 3201, [N/A], 61, 0x0", "nvidia-smi does not tell clocks and power: 1980, 3201, [N/A], 61, 0x0"),
        ("", "nvidia-smi does not tell clocks and power: it says nothing"),
        (None, "nvidia-smi does not tell clocks and power: [Errno 2] No such file or directory: 'nvidia-smi'"),
    ],
)
def test_clocks_are_what_nvidia_smi_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, state: GpuState | str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if said is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!{sys.executable}\nprint({said!r})")
        (tmp_path / "nvidia-smi").chmod(0o755)

    assert read_gpu_state(CUDA) == state


def test_a_gpu_that_was_slowed_is_warned_of(report: SuiteReport) -> None:
    slow = replace(report, gpu_states=(GpuState(900, 3201, 700, 88, ("slowed by heat",)),))

    assert "Do not quote these figures: the GPU was slowed by heat." in slow.warnings
    assert "88 °C, slowed by heat" in suite_page(slow).markdown()
