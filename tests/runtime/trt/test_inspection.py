"""Covers running/inspection.py, layers.py and compiling.py: layers of an engine, with times, and in its record."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.trt.conftest import ARTIFACT, WriteEngine
from tests.runtime.trt.fake_builder import NETWORK
from tests.runtime.trt.fake_tensorrt import LAYER, FakeTensorRT
from u2net.runtime.device import Device
from u2net.runtime.errors import OutOfMemoryError
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.compiling import compile_engine
from u2net.runtime.trt.layers import Layer, parse_layers, summarize_layers
from u2net.runtime.trt.record import read_record
from u2net.runtime.trt.running.inspection import RUNS, inspect_engine

GPU = Device("cuda")


def compile_at(path: Path) -> tuple[Layer, ...]:
    onnx = path.with_name("model.onnx")
    onnx.write_text(json.dumps(NETWORK))
    return compile_engine(GraphSource(onnx, "fp16", 17, ARTIFACT), path, EngineOptions()).layers


@pytest.mark.parametrize("kind", ["trt", "old", "rtx"])
def test_layers_are_read_and_timed_at_the_optimal_shape(
    kind: str, request: pytest.FixtureRequest, write_engine: WriteEngine
) -> None:
    module: FakeTensorRT = request.getfixturevalue(kind)

    found = inspect_engine(write_engine(module), GPU)

    assert [(layer.name, layer.kind, layer.precision) for layer in found.layers] == [(LAYER, "CaskConvolution", "fp16")]
    assert found.times == pytest.approx({LAYER: 0.25})
    assert found.where == f"Fake GPU, (2, 3, 32, 32) (mean of {RUNS} runs)"
    assert set(module.executed) == {(0, (2, 3, 32, 32))}


@pytest.mark.parametrize("kind", ["trt", "old"])
def test_a_compiled_engine_has_its_layers_recorded(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    request.getfixturevalue(kind)
    path = tmp_path / "model.engine"
    layers = compile_at(path)
    found = inspect_engine(path, None)

    assert [layer.precision for layer in layers] == ["fp16"]
    assert (found.layers, found.times, found.where) == (layers, {}, "recorded when it was built on Fake GPU")
    assert (record := read_record(path)) is not None and record.layers == layers


def test_an_engine_that_does_not_open_is_not_written(trt: FakeTensorRT, tmp_path: Path) -> None:
    trt.cuda.allowed = 0

    with pytest.raises(OutOfMemoryError):
        compile_at(tmp_path / "model.engine")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


# --- the inspector's JSON, in the wordings of several versions -----------------------------------------------------


def tensor(wording: str) -> dict[str, Any]:
    return {"Name": "t", "Dimensions": [1, 16, 40, 40], "Format/Datatype": wording}


def convolution(wording: str = "Half", *, bias: int = 1, relu: int = 1) -> dict[str, Any]:
    return {
        "Name": "stage1.rebnconvin.conv_s1 + stage1.rebnconvin.relu_s1",
        "LayerType": "CaskConvolution",
        "ParameterType": "Convolution",
        "Inputs": [tensor(wording)],
        "Outputs": [tensor(wording)],
        "HasBias": bias,
        "HasReLU": relu,
        "Activation": "RELU" if relu else "NONE",
        "TacticName": "sm90_xmma_fprop_implicit_gemm",
    }


def parse(*layers: object) -> tuple[Layer, ...]:
    return parse_layers(json.dumps({"Layers": layers, "Bindings": ["input", "d0"]}))


@pytest.mark.parametrize(
    ("wording", "precision"),
    [
        ("Row major linear FP32", "fp32"),
        ("Row major linear FP16 format", "fp16"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("Thirty-two wide channel vectorized row major Int8 format.", "int8"),
        ("BF16", "bf16"),
        ("N/A due to dynamic shapes", ""),
    ],
)
def test_precision_is_read_from_every_wording(wording: str, precision: str) -> None:
    assert [layer.precision for layer in parse(convolution(wording))] == [precision]


@pytest.mark.parametrize(
    ("kernel", "precision"),
    [
        ("sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize64x32x64_stage5", "fp16"),
        ("sm80_xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nchwkcrs_nchw_tilesize128x16x8_stage3", "fp32"),
        ("sm50_xmma_conv_fprop_fused_conv_act_fp32_NCHW_fp32_NCHW_KCRS_fp32_fp32_fp32_Accfloat", "fp32"),
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32", "int8"),
    ],
)
def test_without_a_format_the_kernel_tells_a_convolution_s_precision(kernel: str, precision: str) -> None:
    """As TensorRT 8.6 reports engines of dynamic shape."""
    (layer,) = parse({**convolution("N/A due to dynamic shapes"), "TacticName": kernel})

    assert layer.precision == precision


def test_metadata_of_merged_nodes_is_read() -> None:
    """TensorRT writes a record separator between their names, as it is."""
    text = json.dumps({"Layers": [{**convolution(), "Metadata": "[ONNX Layer: conv] [ONNX Layer: relu]"}]})

    assert len(parse_layers(text.replace("] [", "]\x1e["))) == 1


@pytest.mark.parametrize(("bias", "relu", "fused"), [(1, 1, True), (1, 0, False), (0, 1, False), (0, 0, False)])
def test_a_fused_convolution_has_bias_and_relu(bias: int, relu: int, fused: bool) -> None:
    (layer,) = parse(convolution(bias=bias, relu=relu))

    assert (layer.convolution, layer.fused) == (True, fused)


def test_a_layer_without_details_has_a_name() -> None:
    assert parse("stage1.conv") == (Layer("stage1.conv", "", "", convolution=False, fused=False, tactic=""),)


def test_the_summary_counts_what_matters_for_speed() -> None:
    resize = {"Name": "stage1.upsample5", "LayerType": "Resize", "Outputs": [tensor("Half")]}
    copy = {"Name": "Reformatting CopyNode", "LayerType": "Reformat", "Outputs": [tensor("Float")]}

    quantized = {**convolution("Row major Int8"), "Outputs": [tensor("Float")]}

    assert summarize_layers(parse(copy, convolution(), convolution(relu=0), resize, quantized)) == [
        "layers: 5 (1 fp32, 3 fp16, 1 int8)",
        "convolutions in INT8: 1 of 3",
        "convolutions with bias and ReLU in one kernel: 2 of 3",
        "copies that only change the format of a tensor: 1",
        "upsamplings that run as separate kernels: 1 (stage1.upsample5)",
    ]


def test_layers_of_further_profiles_are_not_counted_again() -> None:
    (layer,) = parse(convolution("Half"), {**convolution("Half"), "Name": "stage1.rebnconvin.conv_s1 [profile 1]"})

    assert not layer.name.endswith("]")
