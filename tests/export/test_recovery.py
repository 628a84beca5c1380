"""Covers export/recovery.py and recovery_proof.py: checkpoints from ONNX files of other exporters, and refusals."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic
from torch import nn
from torch.onnx import TrainingMode

from tests.export.conftest import STATIC
from u2net.export.fp16 import convert_fp16
from u2net.export.onnx_export import ExportOptions
from u2net.export.recovery import recover_checkpoint
from u2net.model.checkpoint import Checkpoint, load_checkpoint
from u2net.model.network import OUTPUT_NAMES, U2NET, U2NETP, NetworkOutputs, U2Net
from u2net.runtime.errors import CheckpointError

SIDE = 64
EXACT = 1e-5

Edit = Callable[[onnx.ModelProto], None]


def export_before(network: nn.Module, path: Path, opset: int, *, keep: bool = False, training: bool = False) -> Path:
    """Export with torch's older exporter; ``keep`` leaves batch norm as it is instead of folding it."""
    mode = TrainingMode.TRAINING if training else TrainingMode.PRESERVE if keep else TrainingMode.EVAL
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            *(copy.deepcopy(network), (torch.zeros(1, 3, SIDE, SIDE),), path),
            opset_version=opset,
            dynamo=False,
            training=mode,
            do_constant_folding=not (keep or training),
        )
    return path


def compare(recovered: U2Net, source: U2Net) -> float:
    """Return the largest difference of the outputs of two networks, on noise."""
    torch.manual_seed(0)
    tensor = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        pairs = zip(recovered(tensor), source(tensor), strict=True)
        return max(float((ours - theirs).abs().max()) for ours, theirs in pairs)


def same_weights(recovered: U2Net, source: U2Net) -> bool:
    """Return whether all weights and statistics are the same bits."""
    state, wanted = recovered.state_dict(), source.state_dict()
    keys = [key for key in wanted if not key.endswith("num_batches_tracked")]
    return all(torch.equal(state[key], wanted[key]) for key in keys)


@pytest.fixture(scope="module")
def plain(exported: Callable[[ExportOptions], Path]) -> Path:
    """The bundled weights as this project exports them, at 64×96."""
    return exported(STATIC)


@pytest.fixture(scope="module")
def older(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled weights as torch's older exporter writes them, with names that tell nothing."""
    return export_before(checkpoint.network, tmp_path_factory.mktemp("older") / "older.onnx", 11)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "recovered.safetensors"


def test_an_export_of_this_project(plain: Path, target: Path, checkpoint: Checkpoint) -> None:
    result = recover_checkpoint(plain, target)

    assert (result.path, result.variant, result.classes, result.note) == (target, "u2netp", 1, "")
    assert result.difference <= EXACT
    assert compare(load_checkpoint(target).network, checkpoint.network) <= EXACT


@pytest.mark.parametrize("opset", [9, 10, 11, 13, 17])
def test_folded_batch_norm_of_every_opset(checkpoint: Checkpoint, tmp_path: Path, target: Path, opset: int) -> None:
    """Opset 9 and 10 cannot upsample as PyTorch does, but their weights are right."""
    result = recover_checkpoint(export_before(checkpoint.network, tmp_path / "m.onnx", opset), target)

    wrong = opset < 11
    assert (result.difference > 0.1, result.difference <= EXACT) == (wrong, not wrong)
    assert ("the weights are right but the file is wrong" in result.note) == wrong
    assert compare(load_checkpoint(target).network, checkpoint.network) <= EXACT


@pytest.mark.parametrize("opset", [9, 14, 17])
def test_batch_norm_in_the_graph_comes_back_bit_by_bit(
    checkpoint: Checkpoint, tmp_path: Path, target: Path, opset: int
) -> None:
    recover_checkpoint(export_before(checkpoint.network, tmp_path / "m.onnx", opset, keep=True), target)

    assert same_weights(load_checkpoint(target).network, checkpoint.network)


def test_another_epsilon_goes_into_the_variance(checkpoint: Checkpoint, tmp_path: Path, target: Path) -> None:
    source = copy.deepcopy(checkpoint.network)
    for module in source.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3

    recover_checkpoint(export_before(source, tmp_path / "m.onnx", 17, keep=True), target)

    assert compare(load_checkpoint(target).network, checkpoint.network) > 0.01
    assert compare(load_checkpoint(target).network, source) <= EXACT


def test_the_full_network(tmp_path: Path, target: Path) -> None:
    torch.manual_seed(0)
    source = U2NET().eval()

    result = recover_checkpoint(export_before(source, tmp_path / "m.onnx", 12, keep=True), target)

    assert result.variant == "u2net"
    assert same_weights(load_checkpoint(target).network, source)


class Ending(nn.Module):
    """A network whose outputs end in something else."""

    def __init__(self, network: U2Net, end: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.end = network, end

    def forward(self, x: torch.Tensor) -> NetworkOutputs:
        return NetworkOutputs(*map(self.end, self.network.logits(x)))


@pytest.mark.parametrize(
    ("end", "note"),
    [
        (torch.sigmoid, "the file ends in a sigmoid for each class, the checkpoint's network in a softmax over them"),
        (lambda logits: torch.softmax(logits, 1), ""),
        (lambda logits: logits, "the file ends in logits, the checkpoint's network in probabilities"),
    ],
    ids=["sigmoid", "softmax", "logits"],
)
def test_four_classes(tmp_path: Path, target: Path, end: Callable[[torch.Tensor], torch.Tensor], note: str) -> None:
    torch.manual_seed(0)
    source = U2NETP(out_channels=4).eval()

    result = recover_checkpoint(export_before(Ending(source, end), tmp_path / "m.onnx", 11, keep=True), target)

    assert (result.classes, result.note) == (4, note)
    assert same_weights(load_checkpoint(target).network, source)


def test_fp16(plain: Path, tmp_path: Path, target: Path, checkpoint: Checkpoint) -> None:
    result = recover_checkpoint(convert_fp16(plain, tmp_path / "half.onnx").path, target)

    assert result.note == "the weights have the precision of FP16"
    assert compare(load_checkpoint(target).network, checkpoint.network) <= 2e-3


def test_an_order_of_nodes_that_is_not_the_networks(
    older: Path, tmp_path: Path, target: Path, checkpoint: Checkpoint
) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "m.onnx")
    onnxruntime.InferenceSession(older, options)
    files = (older, tmp_path / "m.onnx")
    orders = [[node.input[1] for node in onnx.load(path).graph.node if node.op_type == "Conv"] for path in files]
    assert orders[0] != orders[1], "this version keeps the order, so the test shows nothing"

    recover_checkpoint(tmp_path / "m.onnx", target)

    assert compare(load_checkpoint(target).network, checkpoint.network) <= EXACT


def edited(source: Path, path: Path, edit: Edit) -> Path:
    model = onnx.load(source)
    edit(model)
    onnx.save(model, path)
    return path


def test_weights_in_constants_behind_identities(
    older: Path, tmp_path: Path, target: Path, checkpoint: Checkpoint
) -> None:
    def wrap(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            model.graph.node.insert(0, helper.make_node("Identity", [f"{tensor.name}.stored"], [tensor.name]))
            model.graph.node.insert(0, helper.make_node("Constant", [], [f"{tensor.name}.stored"], value=tensor))
        del model.graph.initializer[:]

    recover_checkpoint(edited(older, tmp_path / "m.onnx", wrap), target)

    assert compare(load_checkpoint(target).network, checkpoint.network) <= EXACT


def test_named_outputs_are_compared_by_name(older: Path, tmp_path: Path, target: Path) -> None:
    def choose(model: onnx.ModelProto) -> None:
        for name, output in zip(OUTPUT_NAMES, model.graph.output, strict=True):
            model.graph.node.append(helper.make_node("Identity", [output.name], [name]))
            output.name = name
        del model.graph.output[1:4]

    assert recover_checkpoint(edited(older, tmp_path / "m.onnx", choose), target).difference <= EXACT


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    nodes: dict[str, onnx.NodeProto] = {node.name: node for node in model.graph.node}
    return nodes[name]


def shrink_kernel(model: onnx.ModelProto) -> None:
    node = node_of(model, "stage3.rebnconv2.conv_s1")
    tensor = next(each for each in model.graph.initializer if each.name == node.input[1])
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, :, 1:2, 1:2].copy(), tensor.name))


def bypass(model: onnx.ModelProto) -> None:
    """Remove a convolution between maps of the same shape."""
    node = node_of(model, "stage1.rebnconv6.conv_s1")
    for other in model.graph.node:
        for index, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[index] = node.input[0]
    model.graph.node.remove(node)


def append(model: onnx.ModelProto) -> None:
    """Put one more convolution behind the output."""
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "one"))
    model.graph.node.append(helper.make_node("Conv", ["d0", "one"], ["more"]))
    model.graph.output[0].name = "more"


def undilate(model: onnx.ModelProto) -> None:
    """Change what the network computes, but no shape."""
    for attribute in node_of(model, "stage5.rebnconv2.conv_s1").attribute:
        if attribute.name in ("dilations", "pads"):
            attribute.ints[:] = [1] * len(attribute.ints)


def close_circle(model: onnx.ModelProto) -> None:
    node_of(model, "stage1.rebnconv6.conv_s1").input[0] = "d0"


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (close_circle, "is not a network: its nodes form a cycle"),
        (
            shrink_kernel,
            r"is not a U²-Net: convolution 29 of a u2netp is stage3\.rebnconv2\.conv_s1 with weights of shape "
            r"\(16, 16, 3, 3\); found shape \(16, 16, 1, 1\) \(119 convolutions in all, of 119\)",
        ),
        (
            bypass,
            r"convolution 8 of a u2netp is stage1\.rebnconv7\.conv_s1 with weights of shape \(16, 16, 3, 3\); "
            r"found shape \(16, 32, 3, 3\) \(118 convolutions in all, of 119\)",
        ),
        (append, r"convolution 120 of a u2netp is one too many; found shape \(1, 1, 1, 1\) \(120 conv"),
        (undilate, r"the right shapes, but its outputs differ by up to 0\.\d+ .* rounding explains at most 0\.0001"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_another_structure(plain: Path, tmp_path: Path, target: Path, edit: Edit, found: str) -> None:
    with pytest.raises(CheckpointError, match=found):
        recover_checkpoint(edited(plain, tmp_path / "m.onnx", edit), target)

    assert not target.exists()


def test_another_structure_in_an_old_opset(checkpoint: Checkpoint, tmp_path: Path, target: Path) -> None:
    """The wrong upsampling of an old opset excuses no other difference."""
    source = copy.deepcopy(checkpoint.network)
    source.stage5.rebnconv2.relu_s1 = nn.Identity()  # type: ignore[union-attr]

    with pytest.raises(CheckpointError, match="the right shapes, but its outputs differ"):
        recover_checkpoint(export_before(source, tmp_path / "m.onnx", 9), target)


def test_training_mode(checkpoint: Checkpoint, tmp_path: Path, target: Path) -> None:
    export_before(checkpoint.network, tmp_path / "m.onnx", 17, training=True)

    with pytest.raises(CheckpointError, match=r"in training mode: stage1\.rebnconvin\.bn_s1 takes its statistics from"):
        recover_checkpoint(tmp_path / "m.onnx", target)


def test_a_quantized_file(plain: Path, tmp_path: Path, target: Path) -> None:
    quantize_dynamic(plain, tmp_path / "m.onnx", op_types_to_quantize=["Conv"])

    with pytest.raises(CheckpointError, match=r"is quantized, first in its node '.*', a DynamicQuantizeLinear"):
        recover_checkpoint(tmp_path / "m.onnx", target)
