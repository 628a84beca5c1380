"""How far a build is said to be, and how Ctrl-C ends it."""

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
    """Calls of a monitor: phases in phases, some with more steps than were announced, some with fewer."""
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


def play(phases: Phases, calls: list[tuple[str, ...]]) -> None:
    for kind, name, *rest in calls:
        if kind == "start":
            phases.start(name, rest[0] or None, int(rest[1]))
        elif kind == "step":
            assert phases.step(name, int(rest[0]))
        else:
            phases.finish(name)


@given(builds())
def test_the_share_never_falls_and_ends_at_one(calls: list[tuple[str, ...]]) -> None:
    told: Told = []
    phases = Phases(lambda name, share: told.append((name, share)))
    play(phases, calls)
    phases.complete()

    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] >= 0
    assert shares[-1] == 1


def test_a_phase_fills_one_step_of_the_phase_around_it() -> None:
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


def test_a_build_that_was_cancelled_is_told_to_stop() -> None:
    phases = Phases(None)
    phases.start("build", None, 2)
    assert phases.step("build", 0)

    phases.cancelled = True
    assert not phases.step("build", 1)


@pytest.fixture
def graph(tmp_path: Path) -> GraphSource:
    path = tmp_path / "model.onnx"
    path.write_text("{}")
    return GraphSource(path, "fp16", 17, ARTIFACT)


@pytest.mark.parametrize("kind", ["trt", "rtx"])
def test_a_build_tells_how_far_it_is(request: pytest.FixtureRequest, graph: GraphSource, kind: str) -> None:
    request.getfixturevalue(kind)
    told: Told = []
    build_plan(graph, ENGINE, EngineOptions(), lambda name, share: told.append((name, share)))

    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {"Building engine", "Timing tactics"} <= {name for name, _ in told}


@pytest.mark.usefixtures("old")
def test_tensorrt_8_tells_nothing(graph: GraphSource) -> None:
    told: Told = []
    build_plan(graph, ENGINE, EngineOptions(), lambda name, share: told.append((name, share)))

    assert told == []


def test_a_build_that_fails_is_not_said_to_be_done(trt: FakeTensorRT, graph: GraphSource) -> None:
    trt.errors = ["no implementation"]
    told: Told = []
    with pytest.raises(EngineBuildError):
        build_plan(graph, ENGINE, EngineOptions(), lambda name, share: told.append((name, share)))

    assert all(share < 1 for _, share in told)


class OddError(Exception):
    pass


@pytest.mark.usefixtures("trt")
def test_what_the_callers_function_raises_ends_the_build_and_comes_through(graph: GraphSource) -> None:
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
    assert not any(thread.name == "tensorrt-build" for thread in threading.enumerate())
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx"}


# --- the real TensorRT-RTX -----------------------------------------------------------------------------------------

INTERRUPTED = """
import json, sys, time
from pathlib import Path
from u2net.export.engine import build_engine
from u2net.runtime.trt.building.engine_options import EngineOptions

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
def test_a_signal_ends_a_real_build_and_no_file_is_left(small_onnx: Path, tmp_path: Path) -> None:
    """As Ctrl-C in a terminal; undisturbed, this build would take more than 20 seconds."""
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
def test_a_real_build_tells_how_far_it_is(tiny_onnx: Callable[..., Path]) -> None:
    told: Told = []
    source = GraphSource(tiny_onnx(height=32, width=32), "fp32", 18)
    plan, _ = build_plan(source, ENGINE, EngineOptions("tensorrt-rtx"), lambda name, share: told.append((name, share)))

    shares = [share for _, share in told]
    assert plan
    assert len(shares) > 10
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.usefixtures("real")
def test_what_the_callers_function_raises_in_a_real_build_comes_through(tiny_onnx: Callable[..., Path]) -> None:
    def tell(_name: str, _share: float) -> None:
        raise OddError("enough")

    with pytest.raises(OddError, match="enough"):
        build_plan(GraphSource(tiny_onnx(height=32, width=32), "fp32", 18), ENGINE, EngineOptions("tensorrt-rtx"), tell)


@pytest.mark.usefixtures("real")
def test_a_real_parser_names_the_node(tiny_onnx: Callable[..., Path]) -> None:
    import onnx

    path = tiny_onnx(height=32, width=32)
    model = onnx.load(path)
    model.graph.node[1].op_type, model.graph.node[1].name = "Nonsense", "stage1.odd"
    onnx.save(model, path)

    with pytest.raises(EngineBuildError, match=r"cannot parse tiny\.onnx: .*node 1 Nonsense stage1\.odd: "):
        build_plan(GraphSource(path, "fp32", 18), ENGINE, EngineOptions("tensorrt-rtx"))
