"""The inspector's JSON, in the wordings of several TensorRT versions."""

import json
from typing import Any

import pytest

from u2net.runtime.trt.layers import Layer, parse_layers, summarize_layers


def tensor(wording: str) -> dict[str, Any]:
    return {"Name": "t", "Dimensions": [1, 16, 40, 40], "Format/Datatype": wording}


def convolution(wording: str, *, bias: int, relu: int) -> dict[str, Any]:
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
    (layer,) = parse(convolution(wording, bias=1, relu=1))

    assert layer.precision == precision


@pytest.mark.parametrize(("bias", "relu", "fused"), [(1, 1, True), (1, 0, False), (0, 1, False), (0, 0, False)])
def test_a_convolution_is_fused_with_bias_and_relu_or_is_not(bias: int, relu: int, fused: bool) -> None:
    (layer,) = parse(convolution("Half", bias=bias, relu=relu))

    assert (layer.convolution, layer.fused) == (True, fused)


def test_a_layer_without_details_has_its_name() -> None:
    assert parse("stage1.conv + stage1.relu") == (
        Layer("stage1.conv + stage1.relu", "", "", convolution=False, fused=False, tactic=""),
    )


def test_what_speed_work_looks_at_is_counted() -> None:
    resize = {"Name": "stage1.upsample5", "LayerType": "Resize", "Outputs": [tensor("Half")]}
    copy = {"Name": "Reformatting CopyNode", "LayerType": "Reformat", "Outputs": [tensor("Float")]}

    summary = summarize_layers(
        parse(copy, convolution("Half", bias=1, relu=1), convolution("Half", bias=1, relu=0), resize)
    )

    assert summary == [
        "layers: 4 (1 fp32, 3 fp16)",
        "convolutions with bias and ReLU in one kernel: 1 of 2",
        "copies that only change the format of a tensor: 1",
        "upsamplings that run as separate kernels: 1 (stage1.upsample5)",
    ]


def test_an_engine_without_layers_is_empty() -> None:
    assert parse_layers('{"Layers": [], "Bindings": []}') == ()
    assert summarize_layers(())[-1] == "upsamplings that run as separate kernels: 0"
