"""Covers cli/inspect.py."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from u2net.runtime.trt.layers import Layer
from u2net.runtime.trt.record import read_record, write_engine

LAYERS = (
    Layer("Reformatting CopyNode for Input Tensor 0 to stage1.conv", "Reformat", "fp16", False, False, ""),
    Layer("stage1.conv + stage1.relu", "CaskConvolution", "fp16", True, True, "sm80_xmma_fprop"),
    Layer("outconv", "CaskConvolution", "fp32", True, False, "sm80_xmma_fprop"),
    Layer("stage1.upsample", "Resize", "fp16", False, False, ""),
)


def test_recorded_layers_are_listed_and_counted(run_u2net: Command, engine: Path) -> None:
    record = read_record(engine)
    assert record is not None
    write_engine(engine, engine.read_bytes(), replace(record, gpu="NVIDIA H200", layers=LAYERS))

    result = run_u2net("inspect", engine)

    assert result.returncode == 0, result.stderr
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for layer in LAYERS:
        assert any(row.startswith(f"{layer.name} {layer.kind} {layer.precision}") for row in rows)
    assert "recorded when it was built on NVIDIA H200" in result.stdout
    assert rows[-4:] == [
        "layers: 4 (3 fp16, 1 fp32)",
        "convolutions with bias and ReLU in one kernel: 1 of 2",
        "copies that only change the format of a tensor: 1",
        "upsamplings that run as separate kernels: 1 (stage1.upsample)",
    ]


def test_missing_layers_are_reported(run_u2net: Command, engine: Path) -> None:
    result = run_u2net("inspect", engine)

    assert result.returncode == 2
    assert "has no recorded layers" in result.stderr
    assert "TensorRT-RTX chooses its layers there" in result.stderr


def test_a_graph_is_not_inspected(run_u2net: Command, built_onnx: Path) -> None:
    result = run_u2net("inspect", built_onnx)

    assert result.returncode == 2
    assert "model.onnx is a graph, and only engines have layers" in result.stderr


@pytest.mark.parametrize(
    ("device", "said"), [("cuda", "there is no NVIDIA driver"), ("cpu", "which needs a GPU: name device cuda")]
)
def test_a_missing_gpu_is_reported(run_u2net: Command, engine: Path, device: str, said: str) -> None:
    result = run_u2net("inspect", engine, "--device", device)

    assert result.returncode == 2
    assert said in result.stderr
