"""The gate catches every injected fault and passes every correct export."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import onnx_ir as ir
import pytest
from faults import FAULTS, align_corners_once, floor_for_ceil, set_align_corners

from u2net.export.graph import read_graph
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.export.parity import ParityGate, VerifyOptions
from u2net.model.checkpoint import Checkpoint
from u2net.model.weights import BUNDLED_WEIGHTS

DOCS = Path(__file__).parents[2] / "docs" / "parity.md"


@pytest.fixture(scope="module")
def gate(photograph_folder: Path) -> ParityGate:
    return ParityGate(BUNDLED_WEIGHTS, VerifyOptions(images=photograph_folder))


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_caught(gate: ParityGate, tiny_onnx: Path, tmp_path: Path, name: str) -> None:
    model = read_graph(tiny_onnx)
    FAULTS[name](model)
    ir.save(model, tmp_path / "faulty.onnx")
    assert not gate.check(tmp_path / "faulty.onnx").passed


def test_each_upsampling_with_align_corners_is_caught_at_320(
    exported: Callable[[ExportOptions], Path],
    photograph_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One photograph is enough for each of the 38, and quick."""
    monkeypatch.setattr("u2net.export.parity.inputs.hard_images", dict)
    (tmp_path / "one").mkdir()
    copy(photograph_folder / "coffee.png", tmp_path / "one")
    gate = ParityGate(BUNDLED_WEIGHTS, VerifyOptions(images=tmp_path / "one"))
    correct = exported(ExportOptions())
    assert gate.check(correct).passed
    model = read_graph(correct)
    resizes = [node for node in model.graph if node.op_type == "Resize"]
    for resize in resizes:
        before = dict(resize.attributes)
        set_align_corners(resize)
        ir.save(model, tmp_path / "faulty.onnx")
        resize.attributes.update(before)
        assert not gate.check(tmp_path / "faulty.onnx").passed, resize.name
    assert len(resizes) == 38


def test_least_visible_upsampling_fault_is_caught_at_320_among_all_inputs(
    gate: ParityGate, exported: Callable[[ExportOptions], Path], tmp_path: Path
) -> None:
    """The hard inputs, on which it does not show, lower its mean difference."""
    model = read_graph(exported(ExportOptions()))
    align_corners_once(model)
    ir.save(model, tmp_path / "faulty.onnx")
    assert not gate.check(tmp_path / "faulty.onnx").passed


def test_floor_for_ceil_pooling_is_caught(gate: ParityGate, checkpoint: Checkpoint, tmp_path: Path) -> None:
    stage = export_onnx(floor_for_ceil(checkpoint), tmp_path / "floor.onnx", ExportOptions(size=(75, 100)))
    assert not gate.check(stage.path).passed


@pytest.mark.parametrize(
    "options",
    [
        ExportOptions(size=(128, 128)),
        ExportOptions(size=(75, 100), batch=None, opset=20),
        ExportOptions(size=(75, 100), batch=None, opset=17),
    ],
    ids=["static", "odd", "odd-opset-17"],
)
def test_correct_export_passes(
    gate: ParityGate, exported: Callable[[ExportOptions], Path], options: ExportOptions
) -> None:
    result = gate.check(exported(options))
    assert result.failures == ()
    assert result.comparisons[0].probability.largest.value > 0, "two programs never agree in every bit"


def test_correct_fp16_passes(gate: ParityGate, tiny_fp16: Path) -> None:
    result = gate.check(tiny_fp16)
    assert result.failures == ()
    assert result.precision == "fp16"


def test_docs_list_every_fault() -> None:
    listed = {line.split("`")[1] for line in DOCS.read_text().splitlines() if line.startswith("| `")}
    assert listed == set(FAULTS) | {floor_for_ceil.__name__}
    assert len(listed) >= 20
