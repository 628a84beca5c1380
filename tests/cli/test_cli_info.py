"""Covers cli/info.py and runtime/description.py."""

import re
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import onnx
import pytest
import torch

from tests.cli.conftest import Command
from u2net.model.network import U2NETP
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.artifact import METADATA_KEY, PROMISE, Artifact, Quantization
from u2net.runtime.files import hash_file
from u2net.runtime.loading import load


def facts(said: CompletedProcess[str]) -> dict[str, str]:
    """Return the first line of each fact by its name."""
    lines = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in said.stdout.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2}


def test_a_checkpoint(run_u2net: Command) -> None:
    said = run_u2net("info", BUNDLED_WEIGHTS)

    assert said.returncode == 0
    assert str(BUNDLED_WEIGHTS) in said.stdout
    found = facts(said)
    assert (found["kind"], found["variant"], found["classes"]) == ("checkpoint", "u2netp", "1")
    assert (found["parameters"], found["SHA-256"]) == ("1,131,181", hash_file(BUNDLED_WEIGHTS))


def test_the_weights_of_a_checkpoint_that_holds_both_are_named_and_chosen(run_u2net: Command, tmp_path: Path) -> None:
    state = U2NETP().state_dict()
    torch.save({"params": state, "params_ema": state}, tmp_path / "both.pth")

    for words, weights in (((), "ema"), (("--weights", "model"), "model"), (("--weights", "ema"), "ema")):
        assert facts(run_u2net("info", tmp_path / "both.pth", *words))["weights"] == weights


@pytest.mark.parametrize(("name", "precision"), [("model.onnx", "fp32"), ("model.fp16.onnx", "fp16")])
def test_a_model(run_u2net: Command, built_onnx: Path, name: str, precision: str) -> None:
    found = facts(run_u2net("info", built_onnx.with_name(name)))

    assert (found["input"], found["outputs"], found["opset"]) == ("dynamic×3×96×96", "d0", "17")
    assert (found["variant"], found["precision"], found["kept in FP32"]) == ("u2netp", precision, "none")
    assert found["checkpoint"] == f"SHA-256 {hash_file(BUNDLED_WEIGHTS)}"


def test_what_runs_a_model_is_told(run_u2net: Command, built_onnx: Path, tmp_path: Path) -> None:
    with load(built_onnx, backend="auto") as session:
        fastest = "openvino-bf16" if session.info.precision == "bf16" else session.info.backend.partition(" ")[0]
    model = onnx.load(built_onnx)
    (entry,) = (each for each in model.metadata_props if each.key == METADATA_KEY)
    made = Quantization("tensorrt", "minmax", 4, 4, PROMISE, ())
    entry.value = replace(Artifact.from_json(entry.value), quantization=made).to_json()
    onnx.save(model, tmp_path / "signed.onnx")

    assert f"--backend auto takes {fastest} on this processor" in run_u2net("info", built_onnx).stdout
    assert "TensorRT, after `u2net compile`" in run_u2net("info", tmp_path / "signed.onnx").stdout


def test_the_preset_is_there_with_all_its_numbers(run_u2net: Command, built_onnx: Path) -> None:
    said = run_u2net("info", built_onnx).stdout

    for fact in ("name reference", "kernel bilinear", "divisor max", "mean (0.485, 0.456, 0.406)", "stretch True"):
        assert fact in said


def test_a_model_of_someone_else(run_u2net: Command, built_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(built_onnx)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")

    said = run_u2net("info", tmp_path / "foreign.onnx")

    assert said.returncode == 0
    assert "none: not exported by u2net; name a preset when loading it" in said.stdout
