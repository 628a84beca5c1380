"""Covers cli/compile.py, and cli/info.py on engines."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from u2net.model.weights import BUNDLED_WEIGHTS


@pytest.fixture
def model(built_onnx: Path, tmp_path: Path) -> Path:
    """The FP16 graph of the shared build, in a folder of its own."""
    return Path(shutil.copy(built_onnx.with_name("model.fp16.onnx"), tmp_path))


def test_an_engine_is_written_beside_its_graph(run_u2net: Command, model: Path) -> None:
    said = run_u2net("compile", model)

    assert said.returncode == 0, said.stderr
    engine = model.with_suffix(".engine")
    assert {path.name for path in model.parent.iterdir()} == {
        *("model.fp16.onnx", "model.fp16.engine", "model.fp16.engine.json")
    }
    (line,) = said.stdout.strip().splitlines()
    assert line.startswith(f"{engine}: tensorrt-rtx ")
    assert "fp16, batch 1:1:8, height 96, width 96, " in line
    assert said.stderr == ""


def test_every_option_reaches_the_record(run_u2net: Command, model: Path) -> None:
    words = "--flavour tensorrt-rtx --batch 1 --batch 2:4:16 --size 96 --opt-level 2 --target sm_89,sm_86 --tf32"

    said = run_u2net("compile", model, "-o", model.parent / "out.plan", *words.split())

    assert said.returncode == 0, said.stderr
    record = json.loads((model.parent / "out.plan.json").read_text(encoding="utf-8"))
    assert [profile["batch"] for profile in record["profiles"]] == [
        {"low": 1, "best": 1, "high": 1},
        {"low": 2, "best": 4, "high": 16},
    ]
    assert (record["opt_level"], record["tf32"], record["targets"]) == (2, True, ["sm_89", "sm_86"])
    assert "for sm_89, sm_86" in said.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--flavour rtx", "there is no flavour 'rtx'; there are tensorrt and tensorrt-rtx"),
        ("--flavour tensorrt", "tensorrt is not installed; `pip install 'u2net-deploy[gpu]'`"),
        ("--batch 1:8", "--batch is MIN:OPT:MAX or a number; got '1:8'"),
        ("--batch x", "--batch is MIN:OPT:MAX or a number"),
        ("--batch 4:2:8", "MAX ≤ 16384; got 4:2:8"),
        ("--batch 0", "MAX ≤ 16384; got 0"),
        ("--size dynamic", "--size of an engine is MIN:OPT:MAX or one size"),
        ("--size 64:64", "--size of an engine is MIN:OPT:MAX or one size"),
        ("--size 32:64:128", "the graph's height is fixed at 96"),
        ("--batch 1 --batch 2 --size 64 --size 64 --size 64", "2 batch ranges and 3 size ranges cannot be paired"),
        ("--opt-level 9", "the optimization level is 0 to 5; got 9"),
        ("--target sm_90", "does not know sm_90; it knows sm_75"),
        ("--target 86", "targets are distinct compute capabilities such as sm_86; got 86"),
        ("--timing-cache cache", "TensorRT-RTX measures no kernels during a build"),
        ("--device cpu", "the device is cuda or cuda:N; got cpu"),
        ("-o other.onnx", "other.onnx is not a valid name for this file; it must end in .engine, .plan, .trt"),
        ("-o /dev/null", "/dev/null is not a valid name for this file"),
        ("-o .", "is not a valid name for this file"),
        ("--batch 1:1:2147483648", "MAX ≤ 16384"),
        ("--batch 99999999999999999999", "MAX ≤ 16384"),
        ("--batch १", "--batch is MIN:OPT:MAX or a number"),
        ("--device cuda:१", "there is no device"),
        ("-o nowhere/m.engine", "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(run_u2net: Command, model: Path, words: str, said: str) -> None:
    result = run_u2net("compile", model, *words.split())

    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert [path.name for path in model.parent.iterdir()] == ["model.fp16.onnx"]


def test_a_checkpoint_is_sent_to_export(run_u2net: Command, tmp_path: Path) -> None:
    result = run_u2net("compile", BUNDLED_WEIGHTS, "-o", tmp_path / "m.engine")

    assert result.returncode == 2
    assert "if it is a checkpoint, `u2net export` makes an ONNX file of it" in result.stderr


def test_info_reads_the_record(run_u2net: Command, engine: Path) -> None:
    said = run_u2net("info", engine).stdout

    for text in ("TensorRT engine", "sm_86", "batch 1:1:8", "model.fp16.onnx, SHA-256", "u2netp", "name reference"):
        assert text in said


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda engine: engine.write_bytes(engine.read_bytes()[:-100]), "is truncated"),
        (lambda engine: engine.write_bytes(engine.read_bytes()[:-1] + b"!"), "is not the plan that"),
        (lambda engine: engine.with_name(engine.name + ".json").unlink(), "has no record"),
        (lambda engine: engine.with_name(engine.name + ".json").write_text("{}"), "record is damaged"),
        (lambda engine: engine.with_name(engine.name + ".json").write_text('{"schema": 9}'), "schema 9"),
        (lambda engine: engine.unlink(), "there is no such file"),
    ],
)
def test_info_of_a_harmed_engine_says_so(
    run_u2net: Command, engine: Path, harm: Callable[[Path], object], said: str
) -> None:
    harm(engine)

    result = run_u2net("info", engine)

    assert result.returncode == 2
    assert said in result.stderr


@pytest.mark.parametrize("command", ["run {engine} {pictures}", "verify {onnx} {engine}", "bench {engine}"])
def test_an_engine_is_not_run_on_a_processor(run_u2net: Command, engine: Path, pictures: Path, command: str) -> None:
    words = command.format(engine=engine, onnx=engine.with_suffix(".onnx"), pictures=pictures).split()

    result = run_u2net(*words)

    assert result.returncode == 2
    assert "which needs a GPU: name device cuda" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_an_engine_needs_a_driver(run_u2net: Command, engine: Path, pictures: Path) -> None:
    result = run_u2net("run", engine, pictures, "--device", "cuda")

    assert result.returncode == 2
    assert result.stderr.startswith("u2net: there is no NVIDIA driver; install one")
