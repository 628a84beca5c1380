"""Covers export/engine.py: the real TensorRT-RTX parses and builds engines ahead of time, without a GPU."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import tensorrt_rtx_bindings as trt
from onnx import TensorProto, helper

from tests.export.conftest import DYNAMIC, ODD, STATIC, TINY
from u2net.export import EngineOptions, ExportOptions, GraphStage, build_engine, convert_fp16
from u2net.export.graph import read_artifact, read_graph
from u2net.export.graph_passes import declare_opset
from u2net.runtime.errors import ArtifactError, EngineBuildError, ExportError, InputError
from u2net.runtime.files import hash_bytes
from u2net.runtime.trt.profiles import ProfileRequest, SizeSpan, Span
from u2net.runtime.trt.record import read_record

HEADER = struct.Struct("<4s12xQ4B4sI")
"""Header of a plan of TensorRT-RTX 1.7: magic, size, version, magic, one bit for each compute capability."""

TARGETS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
"""Compute capabilities in the order of the header's bits."""

SHAPES = {"static": STATIC, "dynamic batch": ExportOptions(size=TINY), "dynamic size": DYNAMIC}
PROFILES = {
    "static": "batch 1, height 64, width 96",
    "dynamic batch": "batch 1:1:8, height 128, width 128",
    "dynamic size": "batch 1:1:8, height 64, width 64",
}

Graphs = Callable[[str, str, str], Path]


@pytest.fixture(scope="module")
def graphs(
    tmp_path_factory: pytest.TempPathFactory,
    exported: Callable[[ExportOptions], Path],
    u2net_stage: GraphStage,
    photograph_folder: Path,
) -> Graphs:
    """Write the graph of a variant, precision and shape mode, each once."""
    folder = tmp_path_factory.mktemp("graphs")

    def graph(variant: str, precision: str, shape: str) -> Path:
        path = exported(SHAPES[shape]) if variant == "u2netp" else u2net_stage.path
        half = folder / f"{variant}-{shape.replace(' ', '-')}.onnx"
        if precision == "fp16" and not half.is_file():
            convert_fp16(path, half, photograph_folder)
        return half if precision == "fp16" else path

    return graph


def read_header(path: Path) -> tuple[bytes, int, str, tuple[str, ...]]:
    """Magic, size, version and targets of a plan."""
    magic, size, *numbers, again, bits = HEADER.unpack_from(path.read_bytes())
    assert again == magic
    return magic, size, ".".join(map(str, numbers)), tuple(name for bit, name in enumerate(TARGETS) if bits >> bit & 1)


@pytest.mark.parametrize(("variant", "shape"), [*(("u2netp", shape) for shape in SHAPES), ("u2net", "dynamic batch")])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_graph_becomes_a_plan(graphs: Graphs, tmp_path: Path, variant: str, precision: str, shape: str) -> None:
    graph, path = graphs(variant, precision, shape), tmp_path / "model.engine"

    stage = build_engine(graph, path)

    assert read_header(path)[:3] == (b"vtrt", path.stat().st_size, trt.__version__)
    record = read_record(path)
    assert record is not None and record == stage.record
    assert (record.flavour, record.version) == ("tensorrt-rtx", trt.__version__)
    assert (record.precision, record.onnx_sha256) == (precision, hash_bytes(graph.read_bytes()))
    assert record.artifact == read_artifact(read_graph(graph), graph)
    assert record.artifact.variant == variant
    assert [str(profile) for profile in record.profiles] == [PROFILES[shape]]
    weights = 44e6 if variant == "u2net" else 1.13e6
    assert record.plan_bytes > weights * (4 if precision == "fp32" else 2)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_parsed_network_has_the_precision_of_the_graph(graphs: Graphs, precision: str) -> None:
    """In a strongly typed network the types of the parser are those of the engine."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, logger).parse_from_file(str(graphs("u2netp", precision, "static")))

    layers = [network.get_layer(index) for index in range(network.num_layers)]
    inner = [layer.get_output(0).dtype for layer in layers if layer.type != trt.LayerType.CAST]

    assert set(inner) == {trt.DataType.HALF if precision == "fp16" else trt.DataType.FLOAT}
    assert [layer.type for layer in layers].count(trt.LayerType.RESIZE) == 38
    assert network.get_input(0).dtype == network.get_output(0).dtype == trt.DataType.FLOAT


@pytest.mark.parametrize("opset", [17, 18, 21])
def test_an_odd_size_is_parsed_too(exported: Callable[[ExportOptions], Path], tmp_path: Path, opset: int) -> None:
    model = read_graph(exported(ODD))
    declare_opset(model, opset)  # exports of other opsets differ in nothing else
    ir.save(model, tmp_path / "odd.onnx")

    stage = build_engine(tmp_path / "odd.onnx", tmp_path / "odd.engine")

    assert str(stage.record.profiles[0]) == "batch 1:1:8, height 75, width 100"


@pytest.mark.parametrize("targets", [("sm_86",), ("sm_89", "sm_75"), ("sm_120", "sm_121", "sm_80")])
def test_a_plan_is_for_its_targets(graphs: Graphs, tmp_path: Path, targets: tuple[str, ...]) -> None:
    path = tmp_path / "model.engine"

    stage = build_engine(graphs("u2netp", "fp16", "static"), path, EngineOptions(targets=targets))

    assert read_header(path)[3] == tuple(sorted(targets, key=TARGETS.index))
    assert stage.record.targets == targets


def test_profiles_are_as_asked_for(graphs: Graphs, tmp_path: Path) -> None:
    request = ProfileRequest((Span(1, 1, 2), Span(4, 8, 16)), (SizeSpan(Span(32, 64, 96), Span(64, 64, 128)),))

    stage = build_engine(
        graphs("u2netp", "fp32", "dynamic size"), tmp_path / "m.engine", EngineOptions(profiles=request)
    )

    assert [str(profile) for profile in stage.record.profiles] == [
        "batch 1:1:2, height 32:64:96, width 64:64:128",
        "batch 4:8:16, height 32:64:96, width 64:64:128",
    ]


def other_graph(path: Path, operator: str = "Conv", *, element: int = TensorProto.FLOAT, channels: int = 3) -> Path:
    """A graph of one node that another tool wrote."""
    kernel = helper.make_tensor("w", element, [1, channels, 1, 1], np.ones(channels).tolist())
    inputs = ["x", "w"] if operator == "Conv" else ["x"]
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, ["y"], name="the_only_node")],
        "other",
        [helper.make_tensor_value_info("x", element, ["N", channels, 32, 32])],
        [helper.make_tensor_value_info("y", element, ["N", 1, 32, 32])],
        [kernel] if operator == "Conv" else [],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_graph_of_another_tool_has_no_artifact(tmp_path: Path) -> None:
    stage = build_engine(other_graph(tmp_path / "other.onnx"), tmp_path / "other.engine")

    assert stage.record.artifact is None
    assert stage.record.precision == "fp32"


def test_a_node_that_cannot_be_parsed_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineBuildError, match=r"cannot parse other\.onnx: .*Det.*the_only_node"):
        build_engine(other_graph(tmp_path / "other.onnx", "Det"), tmp_path / "other.engine")
    assert [path.name for path in tmp_path.iterdir()] == ["other.onnx"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (EngineOptions(targets=("sm_86", "sm_86")), "distinct"),
        (EngineOptions(flavour="tensorrt", targets=("sm_86",)), "targets are for TensorRT-RTX"),
        (EngineOptions(opt_level=-1), "0 to 5; got -1"),
        (EngineOptions(flavour="tensorrt", timing_cache=Path("/")), "something other than a file"),
    ],
)
def test_an_option_that_cannot_be_used_leaves_no_file(
    graphs: Graphs, tmp_path: Path, options: EngineOptions, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        build_engine(graphs("u2netp", "fp32", "static"), tmp_path / "m.engine", options)
    assert not list(tmp_path.iterdir())


def test_a_size_that_the_network_cannot_take_is_refused(graphs: Graphs, tmp_path: Path) -> None:
    request = ProfileRequest((), (SizeSpan(Span(50, 64, 64), Span.only(64)),))

    with pytest.raises(InputError, match="50 is not a multiple of 32"):
        build_engine(graphs("u2netp", "fp32", "dynamic size"), tmp_path / "m.engine", EngineOptions(profiles=request))


def test_files_without_a_graph_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("text")

    with pytest.raises(ExportError, match="there is no such file"):
        build_engine(tmp_path / "missing.onnx", tmp_path / "m.engine")
    with pytest.raises(ExportError, match="cannot be read as ONNX"):
        build_engine(tmp_path / "text.onnx", tmp_path / "m.engine")
    with pytest.raises(InputError, match=r"is not a U²-Net: it takes \[\(-1, 4, 32, 32\)\]"):
        build_engine(other_graph(tmp_path / "four.onnx", channels=4), tmp_path / "m.engine")


def test_damaged_metadata_is_refused(graphs: Graphs, tmp_path: Path) -> None:
    model = onnx.load(graphs("u2netp", "fp32", "static"))
    model.metadata_props[0].value = "{}"
    onnx.save(model, tmp_path / "m.onnx")

    with pytest.raises(ArtifactError, match="metadata is damaged"):
        build_engine(tmp_path / "m.onnx", tmp_path / "m.engine")
