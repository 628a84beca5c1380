"""What the builder is told, what it says when it fails, and what a build leaves behind."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.trt.conftest import ARTIFACT
from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import MAGIC, FakeTensorRT
from u2net.runtime.device import Device
from u2net.runtime.errors import (
    DependencyError,
    DeviceError,
    DriverMissingError,
    DriverTooOldError,
    EngineBuildError,
    InputError,
)
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.building.plan import build_plan
from u2net.runtime.trt.flavours import choose_flavour, import_flavour, parse_flavour
from u2net.runtime.trt.profiles import ProfileRequest, SizeSpan, Span
from u2net.runtime.trt.record import EngineRecord

REFERENCE = replace(ARTIFACT, preset=PRESETS["reference"])


@pytest.fixture
def graph(tmp_path: Path) -> Callable[..., GraphSource]:
    """Write a graph for the fake parser; keywords change the graph, ``source`` changes what is known about it."""

    def write(source: Any = (), **facts: Any) -> GraphSource:
        path = tmp_path / "model.onnx"
        path.write_text(json.dumps(facts))
        return GraphSource(**{"path": path, "precision": "fp16", "opset": 17, "artifact": REFERENCE, **dict(source)})

    return write


def build(source: GraphSource, options: EngineOptions) -> tuple[bytes, EngineRecord]:
    return build_plan(source, source.path.with_suffix(".engine"), options)


def test_without_options_tensorrt_gets_what_is_best_here(trt: FakeTensorRT, graph: Callable[..., GraphSource]) -> None:
    plan, record = build(graph(), EngineOptions())

    (config,) = trt.configs
    assert config.flags == set()  # no TF32
    assert config.builder_optimization_level == 3
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert config.previews == {}
    assert config.profiles == [((1, 3, 320, 320), (1, 3, 320, 320), (8, 3, 320, 320))]
    assert (record.flavour, record.version, record.seconds > 0) == ("tensorrt", "10.16.0.72", True)
    assert (record.gpu, record.compute_capability) == ("Fake GPU", "8.6")
    assert plan == trt.make_plan(profiles=config.profiles)


def test_every_option_reaches_tensorrt(trt: FakeTensorRT, graph: Callable[..., GraphSource], tmp_path: Path) -> None:
    cache = tmp_path / "kernels.cache"
    options = EngineOptions(
        flavour="tensorrt",
        profiles=ProfileRequest(
            (Span(1, 4, 16), Span(2, 2, 2)),
            (SizeSpan(Span(320, 320, 640), Span.only(320)), SizeSpan(Span.only(64), Span(32, 64, 96))),
        ),
        opt_level=5,
        tf32=True,
        timing_cache=cache,
    )

    _, record = build(graph(), options)

    (config,) = trt.configs
    assert config.builder_optimization_level == 5
    assert config.flags == {trt.BuilderFlag.TF32}
    assert config.profiles == [
        ((1, 3, 320, 320), (4, 3, 320, 320), (16, 3, 640, 320)),
        ((2, 3, 64, 32), (2, 3, 64, 64), (2, 3, 64, 96)),
    ]
    assert [profile.shapes() for profile in record.profiles] == config.profiles
    assert cache.read_bytes() == b"TIMES+1"


@pytest.mark.usefixtures("trt")
def test_what_was_measured_is_used_and_added_to(graph: Callable[..., GraphSource], tmp_path: Path) -> None:
    cache = tmp_path / "kernels.cache"
    for content in (b"TIMES+1", b"TIMES+1+1", b"TIMES+1+1+1"):
        build(graph(), EngineOptions(timing_cache=cache))
        assert cache.read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "kernels.cache"}


@pytest.mark.usefixtures("trt")
@pytest.mark.parametrize("content", [b"OTHER", b"no cache at all"])
def test_a_timing_cache_of_something_else_is_refused_and_kept(
    graph: Callable[..., GraphSource], tmp_path: Path, content: bytes
) -> None:
    cache = tmp_path / "kernels.cache"
    cache.write_bytes(content)

    with pytest.raises(InputError, match=r"kernels\.cache is no timing cache of this TensorRT and GPU"):
        build(graph(), EngineOptions(timing_cache=cache))
    assert cache.read_bytes() == content


@pytest.mark.usefixtures("trt")
def test_a_timing_cache_that_cannot_be_written_does_not_cost_the_engine(
    graph: Callable[..., GraphSource], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "nowhere" / "kernels.cache"

    plan, _ = build(graph(), EngineOptions(timing_cache=cache))

    assert plan.startswith(MAGIC)
    assert f"{cache} cannot be written" in caplog.text


def test_a_build_that_fails_leaves_the_timing_cache(
    trt: FakeTensorRT, graph: Callable[..., GraphSource], tmp_path: Path
) -> None:
    trt.errors = ["no implementation"]
    cache = tmp_path / "kernels.cache"

    with pytest.raises(EngineBuildError):
        build(graph(), EngineOptions(timing_cache=cache))
    assert not cache.exists() or cache.read_bytes().startswith(b"TIMES")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"opt_level": 6}, "0 to 5; got 6"),
        ({"opt_level": -1}, "0 to 5; got -1"),
        ({"targets": ("sm_86",)}, "targets are for TensorRT-RTX"),
        ({"device": Device("cpu")}, "the device is cuda or cuda:N; got cpu"),
        ({"timing_cache": Path(__file__).parent}, "is a folder"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_done(
    trt: FakeTensorRT, graph: Callable[..., GraphSource], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        build(graph(), EngineOptions(**options))
    assert trt.builders == 0


# --- TensorRT-RTX --------------------------------------------------------------------------------------------------


def test_tensorrt_rtx_builds_without_a_gpu(
    rtx: FakeTensorRT, cuda: FakeCudaRuntime, graph: Callable[..., GraphSource]
) -> None:
    cuda.driver = 0

    _, record = build(graph(), EngineOptions(targets=("sm_89", "sm_75")))

    (config,) = rtx.configs
    assert config.num_compute_capabilities == 2
    assert config.targets == {0: rtx.ComputeCapability.SM89, 1: rtx.ComputeCapability.SM75}
    assert (record.gpu, record.flavour) == (None, "tensorrt-rtx")
    assert not cuda.calls


def test_no_targets_leave_the_choice_to_tensorrt_rtx(rtx: FakeTensorRT, graph: Callable[..., GraphSource]) -> None:
    build(graph(), EngineOptions())

    assert (rtx.configs[0].num_compute_capabilities, rtx.configs[0].targets) == (0, {})


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (("sm_90",), "1.7.1.116 does not know sm_90; it knows sm_75, sm_86, sm_89$"),
        (("sm_86", "sm_86"), "distinct compute capabilities"),
        (("8.6",), "such as sm_86; got 8.6"),
        (("sm_current",), "such as sm_86"),
    ],
)
def test_targets_that_are_none_are_refused(
    graph: Callable[..., GraphSource], targets: tuple[str, ...], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        build(graph(), EngineOptions(targets=targets))


# --- the full TensorRT needs its GPU -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "kind"),
    [({"driver": 0}, DriverMissingError), ({"driver": 11080}, DriverTooOldError), ({"devices": 0}, DeviceError)],
)
def test_without_a_gpu_no_builder_is_made(
    trt: FakeTensorRT,
    cuda: FakeCudaRuntime,
    graph: Callable[..., GraphSource],
    state: dict[str, int],
    kind: type[DeviceError],
) -> None:
    for name, value in state.items():
        setattr(cuda, name, value)

    with pytest.raises(DeviceError) as caught:
        build(graph(), EngineOptions())
    assert caught.type is kind
    assert trt.builders == 0


def test_it_builds_on_the_gpu_that_was_asked_for(
    trt: FakeTensorRT, cuda: FakeCudaRuntime, graph: Callable[..., GraphSource]
) -> None:
    """Also in the thread that it builds in: the current device is each thread's own."""
    cuda.devices = 3

    build(graph(), EngineOptions(device=Device("cuda", 2)))

    assert trt.build_devices == [2]
    assert cuda.device == 0, "the caller's current device stays"
    with pytest.raises(DeviceError, match="cuda:3 is not there"):
        build(graph(), EngineOptions(device=Device("cuda", 3)))


# --- TensorRT 8.6 --------------------------------------------------------------------------------------------------


def test_precision_is_in_the_graph_where_tensorrt_has_strong_typing(
    trt: FakeTensorRT, graph: Callable[..., GraphSource]
) -> None:
    source = graph({"artifact": replace(REFERENCE, fp32_nodes=("a",)), "opset": 21}, layers=["a", "b"])

    build(source, EngineOptions())

    assert trt.networks[0].flags == 1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert [layer.precision for layer in trt.networks[0].layers] == [None, None]


@pytest.mark.parametrize(("precision", "flags"), [("fp16", {"FP16"}), ("fp32", set())])
def test_tensorrt_8_is_allowed_fp16_for_an_fp16_graph(
    old: FakeTensorRT, graph: Callable[..., GraphSource], precision: str, flags: set[str]
) -> None:
    build(graph({"precision": precision}), EngineOptions())

    assert {flag.name for flag in old.configs[0].flags} == flags
    assert old.networks[0].flags == 1 << old.NetworkDefinitionCreationFlag.EXPLICIT_BATCH
    assert old.configs[0].previews == {old.PreviewFeature.PROFILE_SHARING_0806: True}


def test_tensorrt_8_keeps_the_islands_in_fp32(old: FakeTensorRT, graph: Callable[..., GraphSource]) -> None:
    source = graph({"artifact": replace(REFERENCE, fp32_nodes=("b", "c"))}, layers=["a", "b", "c", "d"])

    build(source, EngineOptions())

    assert {flag.name for flag in old.configs[0].flags} == {"FP16", "OBEY_PRECISION_CONSTRAINTS"}
    full = old.DataType.FLOAT
    assert [layer.precision for layer in old.networks[0].layers] == [None, full, full, None]
    assert [layer.output_types for layer in old.networks[0].layers] == [{}, {0: full}, {0: full}, {}]


def test_tensorrt_8_has_no_islands_in_an_fp32_graph(old: FakeTensorRT, graph: Callable[..., GraphSource]) -> None:
    build(
        graph({"precision": "fp32", "artifact": replace(REFERENCE, fp32_nodes=("a",))}, layers=["a"]), EngineOptions()
    )

    assert old.configs[0].flags == set()
    assert old.networks[0].layers[0].precision is None


@pytest.mark.usefixtures("old")
def test_tensorrt_8_is_not_given_a_newer_opset(graph: Callable[..., GraphSource]) -> None:
    with pytest.raises(InputError, match=r"model\.onnx has opset 18, TensorRT 8\.6\.1 reads up to 17; .*--opset 17"):
        build(graph({"opset": 18}), EngineOptions())


# --- what fails ----------------------------------------------------------------------------------------------------

ERRORS = [
    (3, "Resize", "stage1.up", "Assertion failed: scales"),
    (7, "Conv", "stage2.conv", "In node 7: UNSUPPORTED_NODE"),
    (-1, "", "", "the graph is not valid"),
]


@pytest.mark.usefixtures("trt")
def test_the_parsers_errors_come_whole_with_their_nodes(graph: Callable[..., GraphSource]) -> None:
    with pytest.raises(EngineBuildError) as caught:
        build(graph(errors=ERRORS), EngineOptions())

    assert str(caught.value) == (
        "TensorRT 10.16.0.72 cannot parse model.onnx: node 3 Resize stage1.up: Assertion failed: scales\n"
        "node 7 Conv stage2.conv: In node 7: UNSUPPORTED_NODE\nthe graph is not valid"
    )


@pytest.mark.usefixtures("old")
def test_tensorrt_8_knows_nodes_by_their_number(graph: Callable[..., GraphSource]) -> None:
    with pytest.raises(EngineBuildError, match="node 3: Assertion failed: scales\nnode 7: In node 7"):
        build(graph(errors=ERRORS), EngineOptions())


@pytest.mark.usefixtures("trt")
def test_a_parser_without_errors_leaves_it_to_the_log(graph: Callable[..., GraphSource]) -> None:
    source = graph()
    source.path.write_bytes(b"no graph")

    with pytest.raises(EngineBuildError, match=r"cannot parse model\.onnx: ModelImporter: failed to parse the file"):
        build(source, EngineOptions())


@pytest.mark.parametrize("kind", ["trt", "rtx", "old"])
def test_the_builders_errors_come_whole(
    request: pytest.FixtureRequest, graph: Callable[..., GraphSource], kind: str
) -> None:
    module: FakeTensorRT = request.getfixturevalue(kind)
    module.errors = ["Error Code 10: Could not find any implementation for node a", "Error Code 2: Internal Error"]

    with pytest.raises(EngineBuildError) as caught:
        build(graph(), EngineOptions())
    text = str(caught.value)
    assert text.startswith(
        f"{'tensorrt-rtx' if kind == 'rtx' else 'tensorrt'} {module.__version__} cannot build model.onnx"
    )
    assert all(error in text for error in module.errors)


@pytest.mark.usefixtures("trt")
def test_a_graph_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.onnx: there is no such file"):
        build(GraphSource(tmp_path / "no.onnx", "fp16", 17), EngineOptions())


@pytest.mark.usefixtures("trt")
@pytest.mark.parametrize("sides", [[-1, 1, 320, 320], [-1, 320, 320, 3], [-1, 3]])
def test_a_graph_of_another_network_is_named(graph: Callable[..., GraphSource], sides: list[int]) -> None:
    with pytest.raises(InputError, match=r"is no U²-Net: it takes .*, not one N×3×H×W"):
        build(graph(input=sides), EngineOptions())


@pytest.mark.usefixtures("trt")
def test_a_graph_cannot_be_built_for_what_it_does_not_take(graph: Callable[..., GraphSource]) -> None:
    profiles = ProfileRequest((Span(1, 1, 4),))
    with pytest.raises(InputError, match="batch is fixed at 2, so the engine cannot be built for 1:1:4"):
        build(graph(input=[2, 3, 320, 320]), EngineOptions(profiles=profiles))
    with pytest.raises(InputError, match="has no preset to say which; name it with --size"):
        build(graph({"artifact": None}), EngineOptions())


@pytest.mark.usefixtures("trt")
def test_a_profile_that_tensorrt_refuses_is_named(
    graph: Callable[..., GraphSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.runtime.trt.fake_builder.Config.add_optimization_profile", lambda *_arguments: -1)

    with pytest.raises(EngineBuildError, match=r"does not take the profile .*1:1:8.*320"):
        build(graph(), EngineOptions())


# --- flavours ------------------------------------------------------------------------------------------------------


def test_the_full_tensorrt_comes_first(trt: FakeTensorRT) -> None:
    assert choose_flavour(None) == "tensorrt"
    assert choose_flavour("tensorrt-rtx") == "tensorrt-rtx"
    assert import_flavour("tensorrt").trt is trt  # type: ignore[comparison-overlap]


@pytest.mark.usefixtures("rtx")
def test_what_is_installed_is_taken() -> None:
    assert choose_flavour(None) == "tensorrt-rtx"


def test_without_any_flavour_both_ways_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(DependencyError, match=r"'u2net-deploy\[gpu\]' .*'u2net-deploy\[rtx\]'"):
        choose_flavour(None)


@pytest.mark.usefixtures("trt")
@pytest.mark.parametrize("error", [ImportError("libnvinfer.so.10"), OSError("libnvinfer.so.10")])
def test_a_flavour_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_name: str) -> None:
        raise error

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(DependencyError, match=r"is installed but cannot be imported \(libnvinfer\.so\.10\)"):
        import_flavour("tensorrt")


def test_a_flavour_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="no flavour 'trt'; there are tensorrt and tensorrt-rtx"):
        parse_flavour("trt")
