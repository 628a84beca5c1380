"""Covers building/progress.py: the reported progress of a build, and Ctrl-C."""

import _thread
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.trt.conftest import ARTIFACT
from tests.runtime.trt.fake_tensorrt import FakeTensorRT
from u2net.runtime.errors import EngineBuildError
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.building.plan import build_plan
from u2net.runtime.trt.building.progress import Phases

Told = list[tuple[str, float]]
ENGINE = Path("model.engine")


@st.composite
def builds(draw: st.DrawFn) -> list[tuple[str, ...]]:
    """Calls of a monitor: nested phases, some with more steps than announced, some with fewer."""
    calls: list[tuple[str, ...]] = []

    def phase(name: str, parent: str | None, depth: int) -> None:
        steps = draw(st.integers(0, 4))
        calls.append(("start", name, parent or "", str(steps)))
        for step in range(draw(st.integers(0, steps + 1))):
            if depth and draw(st.booleans()):
                phase(f"{name}.{step}", name, depth - 1)
            calls.append(("step", name, str(step)))
        calls.append(("finish", name))

    for index in range(draw(st.integers(1, 2))):
        phase(str(index), None, 3)
    return calls


@given(builds())
def test_the_share_never_falls_nor_exceeds_one(calls: list[tuple[str, ...]]) -> None:
    told: Told = []
    phases = Phases(lambda name, share: told.append((name, share)))
    for kind, name, *rest in calls:
        if kind == "start":
            phases.start(name, rest[0] or None, int(rest[1]))
        elif kind == "step":
            assert phases.step(name, int(rest[0]))
        else:
            phases.finish(name)

    require_progress([*told, ("Engine built", 1.0)])


def require_progress(told: Told) -> None:
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] >= 0
    assert shares[-1] == 1


def test_a_phase_fills_one_step_of_its_parent() -> None:
    told: Told = []
    phases = Phases(lambda name, share: told.append((name, round(share, 3))))
    phases.start("build", None, 2)
    phases.start("tactics", "build", 4)
    for step in range(4):
        phases.step("tactics", step)
    phases.finish("tactics")
    phases.step("build", 0)
    phases.step("build", 1)

    assert told == [
        ("build", 0.0),
        ("tactics", 0.0),
        *(("tactics", share) for share in (0.125, 0.25, 0.375, 0.5)),
        ("build", 0.5),
        ("build", 1.0),
    ]


@pytest.fixture
def graph(tmp_path: Path) -> GraphSource:
    path = tmp_path / "model.onnx"
    path.write_text("{}")
    return GraphSource(path, "fp16", 17, ARTIFACT)


@pytest.mark.parametrize(("kind", "tells"), [("trt", True), ("rtx", True), ("old", False)])
def test_a_build_reports_its_progress_from_tensorrt_10_on(
    request: pytest.FixtureRequest, graph: GraphSource, kind: str, tells: bool
) -> None:
    request.getfixturevalue(kind)
    told: Told = []
    build_plan(graph, ENGINE, EngineOptions(), lambda name, share: told.append((name, share)))

    assert bool(told) == tells
    if tells:
        require_progress(told)
        assert {"Building engine", "Timing tactics"} <= {name for name, _ in told}


def test_a_failed_build_is_not_reported_as_done(trt: FakeTensorRT, graph: GraphSource) -> None:
    trt.errors = ["no implementation"]
    told: Told = []
    with pytest.raises(EngineBuildError):
        build_plan(graph, ENGINE, EngineOptions(), lambda name, share: told.append((name, share)))

    assert all(share < 1 for _, share in told)


class OddError(Exception):
    pass


@pytest.mark.usefixtures("trt")
def test_an_exception_of_the_callback_ends_the_build(graph: GraphSource) -> None:
    calls: Told = []

    def tell(name: str, share: float) -> None:
        calls.append((name, share))
        raise OddError(name)

    with pytest.raises(OddError, match="Building engine"):
        build_plan(graph, ENGINE, EngineOptions(), tell)
    assert len(calls) == 1


def test_ctrl_c_ends_a_build_at_its_next_step(trt: FakeTensorRT, graph: GraphSource, tmp_path: Path) -> None:
    trt.steps, trt.pace = 1000, 0.05
    told: Told = []

    def tell(name: str, share: float) -> None:
        told.append((name, share))
        if len(told) == 3:
            _thread.interrupt_main()

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build_plan(graph, ENGINE, EngineOptions(timing_cache=tmp_path / "kernels.cache"), tell)

    assert time.monotonic() - started < 10
    assert len(told) < 20
    assert not any(thread.name.startswith("tensorrt-build") for thread in threading.enumerate())
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx"}


# --- the real TensorRT-RTX -----------------------------------------------------------------------------------------

INTERRUPTED = """
import sys, time
from pathlib import Path
from u2net.export import EngineOptions, build_engine

def tell(name, share):
    print(name, flush=True)
    time.sleep(0.05)

try:
    build_engine(Path(sys.argv[1]), Path(sys.argv[2]), EngineOptions("tensorrt-rtx"), tell)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture
def real() -> None:
    pytest.importorskip("tensorrt_rtx_bindings")


@pytest.mark.usefixtures("real")
def test_a_signal_ends_a_real_build_and_leaves_no_file(small_onnx: Path, tmp_path: Path) -> None:
    """Ctrl-C in a terminal sends the same signal. Undisturbed, this build takes more than 20 seconds."""
    command = [sys.executable, "-c", INTERRUPTED, str(small_onnx), str(tmp_path / "model.engine")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(20):
            assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        rest, _ = process.communicate(timeout=60)

    assert rest.split("\n")[-2] == "interrupted"
    assert process.returncode == 0
    assert time.monotonic() - started < 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("real")
def test_a_real_build_reports_its_progress_and_ends_with_the_callback(tiny_onnx: Callable[..., Path]) -> None:
    source, options, told = GraphSource(tiny_onnx(height=32, width=32), "fp32", 18), EngineOptions("tensorrt-rtx"), []

    def tell(name: str, share: float) -> None:
        told.append((name, share))

    def fail(_name: str, _share: float) -> None:
        raise OddError("enough")

    plan, _ = build_plan(source, ENGINE, options, tell)
    assert plan
    assert len(told) > 10
    require_progress(told)
    with pytest.raises(OddError, match="enough"):
        build_plan(source, ENGINE, options, fail)
