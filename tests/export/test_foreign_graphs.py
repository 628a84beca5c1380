"""Covers export/graph.py with others' graphs: torch's older exporter, FP16 by ``.half()``, INT8 by ONNX Runtime."""

import copy
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from tests.export.conftest import TINY
from u2net.export.graph import find_precision, read_graph
from u2net.export.parity import ParityGate, StageParity, VerifyOptions
from u2net.export.parity.sessions import open_for_parity
from u2net.model.checkpoint import Checkpoint
from u2net.runtime import load
from u2net.runtime.device import CPU
from u2net.runtime.errors import ArtifactError
from u2net.runtime.preprocess import FloatArray, preprocess
from u2net.runtime.presets import PRESETS

SIDE = 96
Judge = Callable[[Path], StageParity]


def export_as_others_do(checkpoint: Checkpoint, path: Path, opset: int, dtype: torch.dtype = torch.float32) -> Path:
    """Export all seven outputs with torch's older exporter, which numbers its outputs."""
    network = copy.deepcopy(checkpoint.network).to(dtype)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            network, (torch.zeros(1, 3, SIDE, SIDE, dtype=dtype),), path, opset_version=opset, dynamo=False
        )
    return path


@pytest.fixture(scope="module")
def opset_11(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_as_others_do(checkpoint, tmp_path_factory.mktemp("foreign") / "opset11.onnx", 11)


@pytest.fixture(scope="module")
def judge(checkpoint: Checkpoint, photograph_folder: Path) -> Judge:
    """Hold a graph against the checkpoint, which runs once for all of them."""
    gate = ParityGate(open_for_parity(checkpoint, CPU), VerifyOptions(images=photograph_folder))
    return lambda path: gate.compare(open_for_parity(path, CPU, assumed=PRESETS["reference"]))


def test_seven_numbered_outputs_are_matched_by_position(opset_11: Path, judge: Judge) -> None:
    result = judge(opset_11)

    assert result.passed, result.failures
    assert re.match(r"outputs matched by position: \d+ is d0, .*, \d+ is d6$", result.note)


def test_the_mask_is_that_of_the_first_output(opset_11: Path, photographs: dict[str, np.ndarray]) -> None:
    with load(opset_11, preset="reference") as session:
        assert session(photographs["cat"]).max() > 0.9


def test_the_resize_of_opset_10_fails_on_its_figures(checkpoint: Checkpoint, tmp_path: Path, judge: Judge) -> None:
    result = judge(export_as_others_do(checkpoint, tmp_path / "opset10.onnx", 10))

    assert not result.passed
    assert result.outputs[0].probability.largest.value > 0.1


@pytest.fixture(scope="module")
def half(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_as_others_do(checkpoint, tmp_path_factory.mktemp("half") / "half.onnx", 17, torch.float16)


def test_fp16_inputs_and_outputs_are_judged_as_fp16(half: Path, judge: Judge) -> None:
    result = judge(half)

    assert (result.passed, result.precision) == (True, "fp16"), result.failures


def test_weights_in_constant_nodes_count(half: Path, tmp_path: Path) -> None:
    model = onnx.load(half)
    nodes = [onnx.helper.make_node("Constant", [], [each.name], value=each) for each in model.graph.initializer]
    old = list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend([*nodes, *old])
    onnx.save(model, tmp_path / "constants.onnx")

    assert find_precision(read_graph(tmp_path / "constants.onnx")) == "fp16"


@pytest.mark.parametrize("role", ["preset", "assumed"])
def test_the_callers_preset_reaches_the_rounding_copy_which_alone_is_opened(
    half: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setattr("u2net.export.parity.sessions.open_session", pytest.fail)

    chosen: dict[str, Any] = {role: PRESETS["rembg"]}
    session = open_for_parity(half, CPU, **chosen)

    assert session.info.preset == PRESETS["rembg"].with_size(SIDE, SIDE)


def test_a_file_without_a_preset_is_not_given_one(half: Path) -> None:
    with pytest.raises(ArtifactError, match="name its preset"):
        open_for_parity(half, CPU)


class _Scenes(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, tensors: list[FloatArray], name: str) -> None:
        self._feeds = iter([{name: tensor} for tensor in tensors])

    def get_next(self) -> dict[str, FloatArray]:
        return next(self._feeds, {})


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_an_int8_graph_is_named_as_such_and_judged_by_its_own_limits(
    opset_11: Path, tmp_path: Path, judge: Judge, form: QuantFormat
) -> None:
    """Quantized on noise, it is far off, so the INT8 limits refuse it too."""
    with load(opset_11, preset="reference") as session:
        tensor = np.random.default_rng(0).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)
        assert session.infer(tensor)
    quantize_static(
        opset_11, tmp_path / "int8.onnx", _Scenes([tensor], read_graph(opset_11).graph.inputs[0].name or ""), form
    )

    assert find_precision(read_graph(tmp_path / "int8.onnx")) == "int8"
    result = judge(tmp_path / "int8.onnx")
    assert result.precision == "int8"
    assert not result.passed


def test_a_well_calibrated_int8_file_passes(
    tiny_onnx: Path, tmp_path: Path, photographs: dict[str, np.ndarray], judge: Judge
) -> None:
    """The tool keeps the metadata of the FP32 file, so only the nodes tell that it is INT8. Weights have 7 bits, or
    sums would overflow on a processor without VNNI.
    """
    tensors = [preprocess(each, PRESETS["reference"].with_size(*TINY)) for each in photographs.values()]
    quantize_static(
        *(tiny_onnx, tmp_path / "int8.onnx", _Scenes(tensors, "input"), QuantFormat.QDQ),
        op_types_to_quantize=["Conv", "Relu"],
        per_channel=True,
        reduce_range=True,
    )

    result = judge(tmp_path / "int8.onnx")

    assert (result.passed, result.precision) == (True, "int8"), result.failures
    assert result.outputs[0].probability.mean > 1e-4
