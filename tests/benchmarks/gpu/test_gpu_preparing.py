"""Weights, graphs and engines as workers make them, each for real."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.benchmarks.gpu.conftest import FP16_SIDE
from u2net.benchmarks.gpu import engines, preparing
from u2net.benchmarks.gpu.protocol import Build, Describe, Export, Hello, Seed, Train
from u2net.export.graph import read_artifact, read_graph
from u2net.export.onnx_export import ExportOptions
from u2net.model.checkpoint import load_checkpoint
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import InputError, load
from u2net.runtime.artifact import Artifact
from u2net.runtime.trt.flavours import installed_flavours
from u2net.runtime.trt.profiles import Span
from u2net.runtime.trt.record import read_record

EXPORT = Export(str(BUNDLED_WEIGHTS), "net.onnx", FP16_SIDE, "")


@pytest.fixture
def exported(exported_fp16: Path) -> tuple[Path, Artifact]:
    """The bundled network as a worker exports it, and its metadata."""
    with load(exported_fp16) as session:
        assert session.info.variant == "u2netp"
    return exported_fp16, read_artifact(read_graph(exported_fp16), exported_fp16)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_seeded_weights_are_the_same_each_time() -> None:
    for name in ("a", "b"):
        preparing.do(Seed("u2netp", f"{name}.safetensors"))
    first, second = (load_checkpoint(f"{name}.safetensors").network.state_dict() for name in ("a", "b"))

    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert preparing.do(Describe("a.safetensors")) == {"variant": "u2netp"}


def test_a_graph_is_fp16_of_dynamic_batch_and_readable_by_tensorrt_8(exported: tuple[Path, Artifact]) -> None:
    _, artifact = exported

    assert (artifact.precision, artifact.opset, artifact.shape.batch, artifact.shape.height) == (
        "fp16",
        17,
        None,
        FP16_SIDE,
    )


def test_a_graph_of_an_earlier_run_is_taken_again(exported: tuple[Path, Artifact]) -> None:
    before = exported[0].stat().st_mtime_ns
    again = preparing.do(replace(EXPORT, path=str(exported[0])))

    assert exported[0].stat().st_mtime_ns == before
    assert Artifact.from_json(again["artifact"]) == exported[1]


def test_a_graph_of_something_else_is_not(exported: tuple[Path, Artifact], tmp_path: Path) -> None:
    preparing.do(Seed("u2netp", "other.safetensors"))
    (tmp_path / "damaged.onnx").write_bytes(b"no graph")
    options = ExportOptions(size=(FP16_SIDE, FP16_SIDE), opset=17)
    found = preparing._find_exported

    assert found(exported[0], BUNDLED_WEIGHTS, options) == exported[1]
    assert found(exported[0], tmp_path / "other.safetensors", options) is None
    assert found(exported[0], BUNDLED_WEIGHTS, replace(options, size=(FP16_SIDE, 2 * FP16_SIDE))) is None
    assert found(tmp_path / "damaged.onnx", BUNDLED_WEIGHTS, options) is None
    assert found(tmp_path / "nowhere.onnx", BUNDLED_WEIGHTS, options) is None


def test_without_onnxsim_the_graph_is_left_as_it_was_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxsim", None)
    value = preparing.do(replace(EXPORT, size=64))

    assert "onnxsim" in value["note"]
    assert [path.name for path in Path.cwd().iterdir()] == ["net.onnx"]
    with load("net.onnx") as session:
        assert session.info.precision == "fp16"


def test_training_leaves_weights_and_nothing_else() -> None:
    value = preparing.do(Train("u2netp", "trained.safetensors", 0.02, "cpu"))

    assert load_checkpoint("trained.safetensors").variant == "u2netp"
    assert 0 <= value["mae"] <= 1 and 0 <= value["iou"] <= 1
    assert [path.name for path in Path.cwd().iterdir()] == ["trained.safetensors"]


def test_a_command_that_makes_no_file_is_refused() -> None:
    with pytest.raises(InputError, match="Hello"):
        preparing.do(Hello())


@pytest.mark.skipif("tensorrt-rtx" not in installed_flavours(), reason="TensorRT-RTX is not installed")
def test_an_engine_has_a_profile_for_each_batch_and_is_built_once(exported: tuple[Path, Artifact]) -> None:
    graph, artifact = exported

    def build(*batches: int) -> dict[str, object]:
        return engines.do(Build(str(graph), "net.engine", "tensorrt-rtx", batches, 0, None, artifact.to_json()))

    first, second, other = build(1, 4), build(1, 4), build(1, 2)

    assert [value["kept"] for value in (first, second, other)] == [False, True, False]
    assert first["bytes"] == second["bytes"]
    record = read_record(Path("net.engine"))
    assert record is not None and record.artifact == artifact
    assert [profile.batch for profile in record.profiles] == [Span.only(1), Span.only(2)]
    Path("net.engine.json").write_text("damaged")
    assert not build(1, 2)["kept"]
