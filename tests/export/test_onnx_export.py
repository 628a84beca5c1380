"""Covers export/onnx_export.py and wrapping.py."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import helper

from tests.export.conftest import DYNAMIC, ODD, ODD_PAIRS, SEVEN_OUTPUTS, STATIC
from u2net.export.graph import GraphStage, open_graph, read_artifact, read_graph
from u2net.export.onnx_export import ExportOptions, export_onnx, trace_network
from u2net.model.checkpoint import Checkpoint, load_checkpoint, save_weights
from u2net.model.network import OUTPUT_NAMES, U2NETP
from u2net.runtime import load
from u2net.runtime.errors import InputError
from u2net.runtime.preprocess import preprocess
from u2net.runtime.presets import PRESETS

Images = dict[str, npt.NDArray[np.uint8]]

COUNTS = {"Conv": 119, "Relu": 112, "Concat": 51, "Resize": 38, "MaxPool": 33, "Add": 11}
D0 = ("d0",)

# Every combination of static and dynamic batch with static, odd and dynamic size; the opsets are spread over them.
COMBINATIONS = [
    *(STATIC, SEVEN_OUTPUTS, ODD_PAIRS, ODD, DYNAMIC),
    ExportOptions(size=None, batch=1, outputs=OUTPUT_NAMES, opset=19),
]


def _name(options: ExportOptions) -> str:
    size = "x".join(map(str, options.size)) if options.size else "dynamic"
    return f"{size}-batch-{options.batch or 'dynamic'}-{len(options.outputs)}-outputs-opset-{options.opset}"


each_combination = pytest.mark.parametrize("options", COMBINATIONS, ids=_name)
Export = Callable[[ExportOptions], Path]


@each_combination
def test_no_shape_arithmetic_is_left(exported: Export, options: ExportOptions) -> None:
    counts = Counter(node.op_type for node in read_graph(exported(options)).graph)
    assert counts == {**COUNTS, "Sigmoid": len(options.outputs)}
    assert sum(counts.values()) == (365 if len(options.outputs) == 1 else 371)


@each_combination
def test_file_is_valid_and_declares_the_opset(exported: Export, options: ExportOptions) -> None:
    model = onnx.load(exported(options))
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", options.opset)]
    assert model.ir_version == helper.find_min_ir_version_for(model.opset_import)
    if options.opset == 17:
        assert model.ir_version == 8


@each_combination
def test_inputs_and_outputs_have_the_promised_names_and_shapes(exported: Export, options: ExportOptions) -> None:
    graph = read_graph(exported(options)).graph
    assert [value.name for value in graph.inputs] == ["input"]
    assert [value.name for value in graph.outputs] == list(options.outputs)
    shape = graph.inputs[0].shape
    assert shape is not None
    batch, channels, height, width = shape
    assert channels == 3
    assert batch == options.batch or (options.batch is None and not isinstance(batch, int))
    assert (height, width) == options.size or (options.size is None and not isinstance(height, int))


@each_combination
def test_outputs_equal_eager(
    exported: Export, checkpoint: Checkpoint, photographs: Images, options: ExportOptions
) -> None:
    session = load(exported(options))
    spread = 0.0
    for height, width in [options.size] if options.size else [(32, 32), (160, 224)]:
        preset = PRESETS["reference"].with_size(height, width)
        tensor = np.concatenate([preprocess(image, preset) for image in photographs.values()][: options.batch or 2])
        with torch.inference_mode():
            wanted = checkpoint.network(torch.from_numpy(tensor))._asdict()
        for name, found in session.infer(tensor).items():
            assert np.abs(wanted[name].numpy() - found).max() <= 1e-5
        spread = max(spread, float(np.ptp(wanted["d0"].numpy())))
    assert spread > 0.3, "outputs near one value would match anything"


@each_combination
def test_upsampling_is_constant(exported: Export, options: ExportOptions) -> None:
    resizes = [node for node in read_graph(exported(options)).graph if node.op_type == "Resize"]
    assert any(len(node.inputs) == 4 for node in resizes) == (options == ODD_PAIRS), "sizes need a fixed batch"
    for node in resizes:
        target = node.inputs[3] if len(node.inputs) > 3 else node.inputs[2]
        assert target is not None and target.is_initializer()
        if options.size != ODD.size:
            assert target.const_value is not None
            scales = target.const_value.numpy()
            assert scales[2] == scales[3] and np.log2(scales[2]).is_integer()


@each_combination
def test_pools_round_up_only_where_a_side_may_be_odd(exported: Export, options: ExportOptions) -> None:
    """onnxruntime-web's WebGL backend refuses ``ceil_mode=1``."""
    pools = [node for node in read_graph(exported(options)).graph if node.op_type == "MaxPool"]
    assert {pool.attributes["ceil_mode"].as_int() for pool in pools} == {int(options.size == ODD.size)}


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 64), (320, 320), (32, 1056), (1056, 128), (544, 480)])
def test_rounding_pools_down_is_exact_at_multiples_of_32(dynamic_onnx: Path, height: int, width: int) -> None:
    model = read_graph(dynamic_onnx)
    tensor = np.random.default_rng(0).standard_normal((1, 3, height, width), np.float32)
    found = open_graph(model).infer(tensor)["d0"]
    for pool in [node for node in model.graph if node.op_type == "MaxPool"]:
        pool.attributes.add(ir.AttrInt64("ceil_mode", 1))
    np.testing.assert_array_equal(found, open_graph(model).infer(tensor)["d0"])


def test_full_network_exports_and_equals_eager(
    u2net_checkpoint: Checkpoint, u2net_stage: GraphStage, photographs: Images
) -> None:
    tensor = preprocess(photographs["coffee"], u2net_stage.artifact.preset)
    with torch.inference_mode():
        wanted = u2net_checkpoint.network(torch.from_numpy(tensor)).d0.numpy()
    found = load(u2net_stage.path).infer(tensor)["d0"]
    assert u2net_stage.nodes == 365
    assert u2net_stage.artifact.variant == "u2net"
    assert np.ptp(wanted) > 0.5
    assert np.abs(wanted - found).max() <= 1e-4


def test_four_classes_end_in_a_softmax(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_weights(U2NETP(out_channels=4), tmp_path / "cloth.safetensors")
    checkpoint = load_checkpoint(tmp_path / "cloth.safetensors")
    stage = export_onnx(
        checkpoint, tmp_path / "cloth.onnx", ExportOptions(size=(64, 64), preset=PRESETS["cloth"], batch=1)
    )
    assert Counter(node.op_type for node in read_graph(stage.path).graph) == {**COUNTS, "Softmax": 1}
    maps = load(stage.path).infer(np.zeros((1, 3, 64, 64), np.float32))["d0"]
    assert maps.shape == (1, 4, 64, 64)
    assert np.allclose(maps.sum(axis=1), 1, atol=1e-5)


def test_metadata_describes_the_file(tiny_onnx: Path, checkpoint: Checkpoint) -> None:
    artifact = read_artifact(read_graph(tiny_onnx), tiny_onnx)
    assert (artifact.variant, artifact.precision, artifact.opset, artifact.outputs) == ("u2netp", "fp32", 17, D0)
    assert artifact.checkpoint_sha256 == checkpoint.sha256
    assert artifact.preset == PRESETS["reference"].with_size(128, 128)
    assert set(artifact.versions) >= {"torch", "onnx", "u2net-deploy"}


def test_file_contains_no_path_of_this_machine(tiny_onnx: Path) -> None:
    content = tiny_onnx.read_bytes()
    assert b"stack_trace" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_nodes_are_named_after_modules(tiny_onnx: Path) -> None:
    names = [node.name for node in read_graph(tiny_onnx).graph]
    assert len(set(names)) == len(names)
    assert {"stage1.rebnconvin.conv_s1", "stage5d.rebnconv2d.relu_s1", "upsample_side6", "outconv"} <= set(names)


def test_export_does_not_change_the_network(checkpoint: Checkpoint, tiny_onnx: Path) -> None:
    assert tiny_onnx.is_file()
    assert len(checkpoint.network.state_dict()) == 798


def test_ctrl_c_is_no_failure_of_torch(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise torch.onnx.errors.OnnxExporterError("failed") from error

    monkeypatch.setattr("torch.onnx.export", interrupt)

    with pytest.raises(KeyboardInterrupt):
        trace_network(checkpoint, ("d0",), None)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (ExportOptions(size=(31, 320)), "at least 32"),
        (ExportOptions(batch=0), "batch"),
        (ExportOptions(opset=16), "17 to 21"),
        (ExportOptions(opset=22), "17 to 21"),
        (ExportOptions(size=64), "size is 64, not"),  # type: ignore[arg-type]
        (ExportOptions(batch=1.5), "batch is 1.5, not"),  # type: ignore[arg-type]
        (ExportOptions(outputs=("d7",)), "d7"),
        (ExportOptions(outputs=()), "outputs"),
        (ExportOptions(outputs=("d0", "d0")), "distinct"),
        (ExportOptions(outputs=("d3", "d0")), "d0, which is the mask"),
        (ExportOptions(outputs=("d3",)), "d0, which is the mask"),
        (ExportOptions(preset=replace(PRESETS["reference"], std=(0.0, 0.0, 0.0))), "std above 0"),
        (ExportOptions(size=None, preset=PRESETS["reference"].with_size(64, 100)), "width 100 is not a multiple of 32"),
    ],
)
def test_options_out_of_range_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, options: ExportOptions, part: str
) -> None:
    with pytest.raises(InputError, match=part):
        export_onnx(checkpoint, tmp_path / "model.onnx", options)
    assert not list(tmp_path.iterdir())
