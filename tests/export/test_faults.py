"""The gate must be able to fail: every injected fault is caught, and no correct export is flagged."""

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
from faults import FAULTS, floor_for_ceil

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
    assert result.comparisons[0].probability.largest.value > 0, "two programs never agree to the last bit"


def test_correct_fp16_passes(gate: ParityGate, tiny_fp16: Path) -> None:
    result = gate.check(tiny_fp16)
    assert result.failures == ()
    assert result.precision == "fp16"


def test_there_are_enough_faults_and_the_docs_list_them() -> None:
    listed = {line.split("`")[1] for line in DOCS.read_text().splitlines() if line.startswith("| `")}
    assert listed == set(FAULTS) | {floor_for_ceil.__name__}
    assert len(listed) >= 20
