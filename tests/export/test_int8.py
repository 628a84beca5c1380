"""Quantization that stops where accuracy ends. Modules: int8, qdq."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from PIL import Image

from tests.export.fault_table import quantize
from u2net.export import EngineOptions, Int8Options, build_engine, quantize_int8
from u2net.export.graph import GraphStage, find_precision, read_artifact, read_graph
from u2net.export.int8 import FEWEST_IMAGES
from u2net.export.onnx_export import ExportOptions
from u2net.export.qdq import calibrate
from u2net.runtime import load
from u2net.runtime.artifact import PROMISE, Agreement, Quantization
from u2net.runtime.errors import ArtifactError, ExportError, InputError
from u2net.runtime.preprocess import preprocess_batch

SIDE = 64

Images = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def source(exported: Callable[[ExportOptions], Path]) -> Path:
    return exported(ExportOptions(size=(SIDE, SIDE)))


@pytest.fixture(scope="module")
def crops(photographs: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty parts of photographs."""
    folder = tmp_path_factory.mktemp("crops")
    for name, image in photographs.items():
        height, width = image.shape[:2]
        for index in range(5):
            left, top = index * width // 12, index * height // 12
            crop = image[top : top + height * 2 // 3, left : left + width * 2 // 3]
            Image.fromarray(crop).resize((96, 96)).save(folder / f"{name}{index}.png")
    return folder


@dataclass
class Interrupted:
    """A search that was interrupted, and went on."""

    stage: GraphStage
    source: Path
    told: list[str]
    losses: Path
    """Copy of what it had measured."""


@pytest.fixture(scope="module")
def search(source: Path, crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """Six convolutions are measured, two of them before an interruption; to save time the others get likely losses."""
    folder, told = tmp_path_factory.mktemp("int8"), list[str]()
    path, losses = folder / "model.int8.onnx", folder / "model.int8.onnx.search.json"

    def interrupt(message: str) -> None:
        if "convolution 3 of" in message:
            raise KeyboardInterrupt

    def tell(message: str) -> None:
        told.append(message)
        if "together" in message:
            shutil.copy(losses, folder / "losses.json")

    with pytest.raises(KeyboardInterrupt):
        quantize_int8(source, path, Int8Options(crops), interrupt)
    known = json.loads(losses.read_text())
    measured = dict(known["losses"])
    names = [str(node.name) for node in read_graph(source).graph if node.op_type == "Conv" and node.name != "outconv"]
    for index, name in enumerate(names[2:-4]):
        known["losses"][name] = 1e-3 if "side" in name or "convin" in name else 1e-6 * index
    losses.write_text(json.dumps(known))
    stage = quantize_int8(source, path, Int8Options(crops), tell)
    assert len(measured) == 2 and all(0 < each < 0.1 for each in measured.values())
    return Interrupted(stage, source, told, folder / "losses.json")


def made(search: Interrupted) -> Quantization:
    quantization = search.stage.artifact.quantization
    assert quantization is not None
    return quantization


def test_the_promise_is_kept_and_more_would_break_it(search: Interrupted) -> None:
    quantization, kept = made(search), search.stage.artifact.fp32_nodes
    names = [each.name for each in quantization.losses]

    assert quantization.agreement.keeps(PROMISE)
    assert len(names) == 118 and 1 < len(kept) < 75
    assert {"outconv", *names[-len(kept) + 1 :]} == set(kept), "the fusion and the costliest stay in FP32"
    assert [each.loss for each in quantization.losses] == sorted(each.loss for each in quantization.losses)


def test_the_graph_is_what_its_metadata_says(search: Interrupted, photographs: Images) -> None:
    model = read_graph(search.stage.path)
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    producers = [[value.producer() for value in node.inputs if value is not None] for node in convolutions]
    quantized = [pair for pair in producers if pair[1] is not None]

    onnx.checker.check_model(onnx.load(search.stage.path), full_check=True)
    assert {node.op_type for pair in quantized for node in pair if node} == {"DequantizeLinear"}
    assert len(quantized) == 119 - len(search.stage.artifact.fp32_nodes)
    weights = [each.const_value for each in model.graph.initializers.values() if each.dtype == ir.DataType.INT8]
    largest = max(np.abs(each.numpy().astype(int)).max() for each in weights if each is not None)
    assert largest == 64, "more overflows on a processor without VNNI"
    assert find_precision(model) == read_artifact(model, search.stage.path).precision == "int8"
    with load(search.source) as before, load(search.stage.path) as after:
        tensor = preprocess_batch(list(photographs.values()), before.info.preset)
        assert after.info.precision == "int8"
        difference = np.abs(before.infer(tensor)["d0"] - after.infer(tensor)["d0"]).mean()
    assert 1e-6 < difference < 5e-3


def test_an_interrupted_search_goes_on_and_says_how_long(search: Interrupted) -> None:
    ranked = [message for message in search.told if " alone" in message]

    assert ranked[0] == "int8: convolution 115 of 118 alone"
    assert ranked[-1] == "int8: convolution 118 of 118 alone, 0 min left"
    assert not search.stage.path.with_name("model.int8.onnx.search.json").exists()


def test_a_promise_that_cannot_be_kept_names_the_best(search: Interrupted, crops: Path, tmp_path: Path) -> None:
    shutil.copy(search.losses, tmp_path / "model.onnx.search.json")

    with pytest.raises(ExportError, match=r"the promise \(IoU 1.0000.*\) cannot be kept: .* reached IoU 0\.99"):
        quantize_int8(search.source, tmp_path / "model.onnx", Int8Options(crops, promise=Agreement(1, 1, 1e-9)))
    assert not (tmp_path / "model.onnx").exists()


def test_losses_of_other_photographs_are_not_used(search: Interrupted, crops: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(crops, fewer)
    next(fewer.iterdir()).unlink()
    shutil.copy(search.losses, tmp_path / "model.onnx.search.json")

    def stop(message: str) -> None:
        if " alone" in message:
            raise KeyboardInterrupt(message)

    with pytest.raises(KeyboardInterrupt, match="convolution 1 of 118"):
        quantize_int8(search.source, tmp_path / "model.onnx", Int8Options(fewer), stop)


@pytest.mark.parametrize("calibrator", ["minmax", "percentile"])
def test_ranges_cover_what_the_calibrator_says(source: Path, calibrator: str) -> None:
    """The percentile leaves out one value in 300,000."""
    tensors = np.ones((24, 1, 3, SIDE, SIDE), np.float32)
    tensors[3, 0, 0, 0, 0] = 100

    found = calibrate(source, iter(tensors), "cpu", calibrator)["input"].range_value  # type: ignore[arg-type]

    assert (found[1].item() > 99) == (calibrator == "minmax")


@pytest.fixture(scope="module")
def signed(source: Path, crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every convolution in INT8, for TensorRT."""
    return quantize(source, tmp_path_factory.mktemp("signed") / "model.int8.onnx", crops, "tensorrt")


def test_a_file_for_tensorrt_is_signed_symmetric_and_has_float_biases(signed: Path) -> None:
    model = read_graph(signed)
    pairs = [node for node in model.graph if node.op_type == "QuantizeLinear"]
    zero_points = [node.inputs[2].const_value.numpy() for node in pairs]  # type: ignore[union-attr]

    assert len(pairs) == 2 * 119
    assert all(each.dtype == np.int8 and not each.any() for each in zero_points)
    for node in model.graph:
        if node.op_type == "Conv":
            fed = [value.producer() is not None for value in node.inputs if value is not None]
            assert fed == [True, True, False], node.name


def test_tensorrt_rtx_builds_a_signed_file_and_refuses_an_unsigned_one(
    signed: Path, search: Interrupted, tmp_path: Path
) -> None:
    record = build_engine(signed, tmp_path / "model.engine", EngineOptions("tensorrt-rtx")).record

    assert record.precision == "int8" and record.plan_bytes > 1e6
    with pytest.raises(InputError, match=r"uint8 values, .* --precision int8 --target tensorrt"):
        build_engine(search.stage.path, tmp_path / "other.engine", EngineOptions("tensorrt-rtx"))


def test_openvino_runs_an_unsigned_file_in_int8_and_refuses_a_signed_one(
    signed: Path, search: Interrupted, photographs: Images
) -> None:
    with load(search.stage.path) as ours, load(search.stage.path, backend="openvino") as theirs:
        assert (theirs.info.precision, theirs.info.provider) == ("int8", "CPU, INT8 and FP32")
        masks = ours(photographs["cat"]), theirs(photographs["cat"])
    assert np.abs(masks[0] - masks[1]).mean() < 0.02
    with pytest.raises(ArtifactError, match=r"quantized for TensorRT: .* --target cpu"):
        load(signed, backend="openvino")


def test_what_cannot_be_quantized_is_refused(search: Interrupted, crops: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(crops.iterdir())[: FEWEST_IMAGES - 1]:
        shutil.copy(path, few)

    with pytest.raises(InputError, match=r"few has 15 photographs; INT8 takes at least 16, better some 200"):
        quantize_int8(search.source, tmp_path / "model.onnx", Int8Options(few))
    with pytest.raises(ExportError, match="is int8 already; quantize the FP32 graph"):
        quantize_int8(search.stage.path, tmp_path / "model.onnx", Int8Options(crops))
    with pytest.raises(InputError, match="a promise has IoUs from 0 to 1 and a mean difference above 0"):
        quantize_int8(search.source, tmp_path / "model.onnx", Int8Options(crops, promise=Agreement(99, 0.9, 1e-3)))
