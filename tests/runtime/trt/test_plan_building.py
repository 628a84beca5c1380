"""Covers building/{plan,graph,engine_options}.py, profiles.py, flavours.py and messages.py.

The tests check what TensorRT is told, and how its errors are reported.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.trt.conftest import ARTIFACT
from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import MAGIC, FakeTensorRT
from u2net.runtime.artifact import ImageIo
from u2net.runtime.device import Device
from u2net.runtime.errors import (
    DependencyError,
    DeviceError,
    DriverMissingError,
    EngineBuildError,
    InputError,
)
from u2net.runtime.files import hash_bytes
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.building.plan import build_plan
from u2net.runtime.trt.flavours import choose_flavour, import_flavour
from u2net.runtime.trt.profiles import ProfileRequest, SizeSpan, Span
from u2net.runtime.trt.record import EngineRecord

REFERENCE = replace(ARTIFACT, preset=PRESETS["reference"])
Write = Callable[..., GraphSource]


@pytest.fixture
def graph(tmp_path: Path) -> Write:
    """Write a graph for the simulated parser; keywords change its facts, ``source`` what the caller knows of it."""

    def write(source: Any = (), **facts: Any) -> GraphSource:
        path = tmp_path / "model.onnx"
        path.write_text(json.dumps(facts))
        return GraphSource(**{"path": path, "precision": "fp16", "opset": 17, "artifact": REFERENCE, **dict(source)})

    return write


def build(source: GraphSource, **options: Any) -> tuple[bytes, EngineRecord]:
    return build_plan(source, source.path.parent / "engines" / "model.engine", EngineOptions(**options))


def test_the_defaults_reach_tensorrt_and_the_record(trt: FakeTensorRT, graph: Write) -> None:
    plan, record = build(graph())

    (config,) = trt.configs
    assert config.flags == set()  # no TF32
    assert config.builder_optimization_level == 3
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert config.previews == {}
    assert config.profiles == [((1, 3, 320, 320), (1, 3, 320, 320), (8, 3, 320, 320))]
    assert plan == trt.make_plan(profiles=config.profiles)
    assert (record.flavour, record.version, record.seconds > 0) == ("tensorrt", "10.16.0.72", True)
    assert (record.gpu, record.compute_capability, record.targets) == ("Fake GPU", "8.6", ())
    assert (record.plan_bytes, record.plan_sha256) == (len(plan), hash_bytes(plan))
    assert (record.onnx, record.onnx_sha256) == ("../model.onnx", hash_bytes(b"{}"))
    assert (record.artifact, record.opt_level, record.tf32) == (REFERENCE, None, False)


def test_every_option_reaches_tensorrt_and_the_record(trt: FakeTensorRT, graph: Write, tmp_path: Path) -> None:
    cache = tmp_path / "kernels.cache"
    request = ProfileRequest(
        (Span(1, 4, 16), Span(2, 2, 2)),
        (SizeSpan(Span(320, 320, 640), Span.only(320)), SizeSpan(Span.only(64), Span(32, 64, 96))),
    )

    _, record = build(graph(), flavour="tensorrt", profiles=request, opt_level=5, tf32=True, timing_cache=cache)

    (config,) = trt.configs
    assert config.builder_optimization_level == 5
    assert config.flags == {trt.BuilderFlag.TF32}
    assert config.profiles == [
        ((1, 3, 320, 320), (4, 3, 320, 320), (16, 3, 640, 320)),
        ((2, 3, 64, 32), (2, 3, 64, 64), (2, 3, 64, 96)),
    ]
    assert [profile.shapes() for profile in record.profiles] == config.profiles
    assert (record.opt_level, record.tf32) == (5, True)
    assert cache.read_bytes() == b"TIMES+1"


@pytest.mark.usefixtures("trt")
def test_kernel_timings_are_reused_and_extended(graph: Write, tmp_path: Path) -> None:
    cache = tmp_path / "kernels.cache"
    for content in (b"TIMES+1", b"TIMES+1+1", b"TIMES+1+1+1"):
        build(graph(), timing_cache=cache)
        assert cache.read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "kernels.cache"}


@pytest.mark.usefixtures("trt")
@pytest.mark.parametrize("content", [b"OTHER", b"no cache at all"])
def test_a_foreign_timing_cache_is_refused_and_kept(graph: Write, tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "kernels.cache"
    cache.write_bytes(content)

    with pytest.raises(InputError, match=r"kernels\.cache is not a timing cache of this TensorRT and GPU"):
        build(graph(), timing_cache=cache)
    assert cache.read_bytes() == content


@pytest.mark.usefixtures("trt")
def test_a_timing_cache_that_cannot_be_written_does_not_fail_the_build(
    graph: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path, _content: bytes) -> None:
        raise OSError("no space left")

    cache = tmp_path / "kernels.cache"
    monkeypatch.setattr(Path, "write_bytes", fail)

    plan, _ = build(graph(), timing_cache=str(cache))

    assert plan.startswith(MAGIC)
    assert f"{cache} cannot be written" in caplog.text


def test_a_timing_cache_in_a_missing_folder_is_refused_before_the_build(
    trt: FakeTensorRT, graph: Write, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"kernels\.cache cannot be written: there is no folder .*nowhere"):
        build(graph(), timing_cache=tmp_path / "nowhere" / "kernels.cache")

    assert trt.built_on == []


# --- devices -------------------------------------------------------------------------------------------------------


def test_tensorrt_rtx_builds_without_a_gpu(rtx: FakeTensorRT, cuda: FakeCudaRuntime, graph: Write) -> None:
    cuda.driver = 0

    _, record = build(graph(), targets=("sm_89", "sm_75"))

    (config,) = rtx.configs
    assert config.num_compute_capabilities == 2
    assert config.targets == {0: rtx.ComputeCapability.SM89, 1: rtx.ComputeCapability.SM75}
    assert (record.gpu, record.flavour, record.targets) == (None, "tensorrt-rtx", ("sm_89", "sm_75"))
    assert not cuda.calls


def test_without_a_driver_the_full_tensorrt_makes_no_builder(
    trt: FakeTensorRT, cuda: FakeCudaRuntime, graph: Write
) -> None:
    cuda.driver = 0

    with pytest.raises(DriverMissingError):
        build(graph())
    assert trt.built_on == []


def test_an_engine_is_built_on_the_gpu_that_was_asked_for(
    trt: FakeTensorRT, cuda: FakeCudaRuntime, graph: Write
) -> None:
    """The simulated builder checks the current device of the building thread, which each thread has for itself."""
    cuda.devices = 3

    build(graph(), device=Device("cuda", 2))

    assert (trt.built_on, cuda.device) == ([2], 0)
    with pytest.raises(DeviceError, match="cuda:3 is not there"):
        build(graph(), device=Device("cuda", 3))


# --- precision -----------------------------------------------------------------------------------------------------


def test_a_strongly_typed_graph_decides_its_precision(trt: FakeTensorRT, graph: Write) -> None:
    build(graph({"artifact": replace(REFERENCE, fp32_nodes=("a",)), "opset": 21}, layers=["a", "b"]))

    assert trt.networks[0].flags == 1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert [layer.precision for layer in trt.networks[0].layers] == [None, None]


@pytest.mark.parametrize(("precision", "flags"), [("fp16", {"FP16"}), ("int8", {"INT8"}), ("fp32", set())])
def test_tensorrt_8_may_use_the_precision_of_the_graph(
    old: FakeTensorRT, graph: Write, precision: str, flags: set[str]
) -> None:
    build(graph({"precision": precision}))

    assert {flag.name for flag in old.configs[0].flags} == flags
    assert old.networks[0].flags == 1 << old.NetworkDefinitionCreationFlag.EXPLICIT_BATCH
    assert old.configs[0].previews == {old.PreviewFeature.PROFILE_SHARING_0806: True}


def test_tensorrt_8_keeps_fp32_nodes_in_fp32(old: FakeTensorRT, graph: Write) -> None:
    build(graph({"artifact": replace(REFERENCE, fp32_nodes=("b", "c"))}, layers=["a", "b", "c", "d"]))

    assert {flag.name for flag in old.configs[0].flags} == {"FP16", "OBEY_PRECISION_CONSTRAINTS"}
    full = old.DataType.FLOAT
    assert [layer.precision for layer in old.networks[0].layers] == [None, full, full, None]
    assert [layer.output_types for layer in old.networks[0].layers] == [{}, {0: full}, {0: full}, {}]


@pytest.mark.parametrize("images", [True, False])
def test_tensorrt_8_keeps_the_arithmetic_around_the_network_in_fp32(
    old: FakeTensorRT, graph: Write, images: bool
) -> None:
    names = ["preprocess.1.matmul", "preprocess.2.int", "preprocess.3.cast", "stage1.conv", "postprocess.9.matmul"]
    artifact = replace(REFERENCE, image=ImageIo(None, None, "float32") if images else None)
    size = SizeSpan(Span.only(64), Span.only(64))
    shape = {"input": [-1, -1, -1, 3]} if images else {}
    build(graph({"artifact": artifact}, layers=names, **shape), profiles=ProfileRequest(sizes=(size,)))

    kept = [layer.name for layer in old.networks[0].layers if layer.precision is old.DataType.FLOAT]
    assert kept == (["preprocess.1.matmul", "postprocess.9.matmul"] if images else [])


# --- errors --------------------------------------------------------------------------------------------------------

ERRORS = [
    (3, "Resize", "stage1.up", "Assertion failed: scales"),
    (7, "Conv", "stage2.conv", "In node 7: UNSUPPORTED_NODE"),
    (-1, "", "", "the graph is not valid"),
]


@pytest.mark.usefixtures("old")
def test_tensorrt_8_is_not_given_a_newer_opset(graph: Write) -> None:
    with pytest.raises(InputError, match=r"has opset 18, but TensorRT 8\.6\.1 reads up to 17; .*--opset 17"):
        build(graph({"opset": 18}))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            "trt",
            "TensorRT 10.16.0.72 cannot parse model.onnx: node 3 Resize stage1.up: Assertion failed: scales\n"
            "node 7 Conv stage2.conv: In node 7: UNSUPPORTED_NODE\nthe graph is not valid",
        ),
        (
            "old",
            "TensorRT 8.6.1 cannot parse model.onnx: node 3: Assertion failed: scales\n"
            "node 7: In node 7: UNSUPPORTED_NODE\nthe graph is not valid",
        ),
    ],
)
def test_all_parser_errors_are_quoted_with_their_nodes(
    request: pytest.FixtureRequest, graph: Write, kind: str, text: str
) -> None:
    request.getfixturevalue(kind)
    with pytest.raises(EngineBuildError) as caught:
        build(graph(errors=ERRORS))

    assert str(caught.value) == text


@pytest.mark.usefixtures("trt")
def test_without_parser_errors_the_log_is_quoted(graph: Write) -> None:
    source = graph()
    source.path.write_bytes(b"no graph")

    with pytest.raises(EngineBuildError, match=r"cannot parse model\.onnx: ModelImporter: failed to parse the file"):
        build(source)


@pytest.mark.parametrize("kind", ["trt", "rtx", "old"])  # each is chosen because it is the one installed
def test_all_builder_errors_are_quoted(request: pytest.FixtureRequest, graph: Write, kind: str) -> None:
    module: FakeTensorRT = request.getfixturevalue(kind)
    module.errors = ["Error Code 10: Could not find any implementation for node a", "Error Code 2: Internal Error"]

    with pytest.raises(EngineBuildError) as caught:
        build(graph())
    text = str(caught.value)
    assert text.startswith(
        f"{'tensorrt-rtx' if kind == 'rtx' else 'tensorrt'} {module.__version__} cannot build model.onnx"
    )
    assert all(error in text for error in module.errors)


@pytest.mark.usefixtures("trt")
@pytest.mark.parametrize("sides", [[-1, 1, 320, 320], [-1, 320, 320, 3], [-1, 3]])
def test_the_graph_of_another_network_is_refused(graph: Write, sides: list[int]) -> None:
    with pytest.raises(InputError, match=r"is not a U²-Net: it takes .*, not one N×3×H×W"):
        build(graph(input=sides))


@pytest.mark.usefixtures("trt")
def test_ranges_that_do_not_fit_are_named(graph: Write) -> None:
    with pytest.raises(InputError, match="batch is fixed at 2, so the engine cannot be built for 1:1:4"):
        build(graph(input=[2, 3, 320, 320]), profiles=ProfileRequest((Span(1, 1, 4),)))
    with pytest.raises(InputError, match="say which the engine is for with --size"):
        build(graph({"artifact": None}))


@pytest.mark.usefixtures("trt")
def test_a_profile_that_tensorrt_refuses_is_named(graph: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.runtime.trt.fake_builder.Config.add_optimization_profile", lambda *_arguments: -1)

    with pytest.raises(EngineBuildError, match=r"does not take the profile .*1:1:8.*320"):
        build(graph())


# --- flavours ------------------------------------------------------------------------------------------------------


def test_the_full_tensorrt_is_preferred(trt: FakeTensorRT) -> None:
    assert choose_flavour(None) == "tensorrt"
    assert choose_flavour("tensorrt-rtx") == "tensorrt-rtx"
    assert import_flavour("tensorrt").trt is trt  # type: ignore[comparison-overlap]


def test_without_any_flavour_both_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(
        DependencyError,
        match=r"^TensorRT is not installed; `pip .*\[gpu\]'` or `pip .*\[rtx\]'` installs it$",
    ):
        choose_flavour(None)


@pytest.mark.usefixtures("trt")
@pytest.mark.parametrize("error", [ImportError("libnvinfer.so.10"), OSError("libnvinfer.so.10")])
def test_a_flavour_that_cannot_be_imported_is_reported(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_name: str) -> None:
        raise error

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(DependencyError, match=r"is installed but cannot be imported \(libnvinfer\.so\.10\)"):
        import_flavour("tensorrt")
