"""The gate catches every injected fault and passes every correct export."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import onnx_ir as ir
import pytest

from tests.export.conftest import ODD, TINY
from tests.export.faults import COORDINATES, FAULTS, floor_for_ceil, inject
from u2net.export.graph import open_graph, read_graph
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.export.parity import ParityGate, StageParity, VerifyOptions
from u2net.export.parity.sessions import open_for_parity
from u2net.model.checkpoint import Checkpoint
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.device import CPU
from u2net.runtime.openvino_backend import computes_in_bf16

Export = Callable[[ExportOptions], Path]
DOCS = Path(__file__).parents[2] / "docs" / "parity.md"


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_caught(gate: ParityGate, tiny_onnx: Path, tmp_path: Path, name: str) -> None:
    assert not gate.compare(open_for_parity(inject(tiny_onnx, FAULTS[name], tmp_path / "faulty.onnx"), CPU)).passed


def test_align_corners_in_any_upsampling_is_caught_at_320(
    exported: Export, photograph_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One photograph is enough to catch each of the 38."""
    monkeypatch.setattr("u2net.export.parity.inputs.hard_images", dict)
    copy(photograph_folder / "astronaut.png", tmp_path)
    gate = ParityGate(open_for_parity(BUNDLED_WEIGHTS, CPU), VerifyOptions(images=tmp_path))
    model = read_graph(exported(ExportOptions()))
    resizes = [node for node in model.graph if node.op_type == "Resize"]
    for node in resizes:
        correct = node.attributes[COORDINATES]
        node.attributes.add(ir.AttrString(COORDINATES, "align_corners"))
        assert not gate.compare(open_graph(model)).passed, node.name
        node.attributes.add(correct)
    assert gate.compare(open_graph(model)).passed and len(resizes) == 38


def test_least_visible_align_corners_is_caught_at_320(
    exported: Export, photograph_folder: Path, tmp_path: Path
) -> None:
    """The hard inputs hardly show it and so lower its mean difference."""
    (tmp_path / "photographs").mkdir()
    copy(photograph_folder / "astronaut.png", tmp_path / "photographs")
    gate = ParityGate(open_for_parity(BUNDLED_WEIGHTS, CPU), VerifyOptions(images=tmp_path / "photographs"))
    faulty = inject(exported(ExportOptions()), FAULTS["align_corners_once"], tmp_path / "faulty.onnx")
    assert not gate.compare(open_for_parity(faulty, CPU)).passed


def test_floor_for_ceil_pooling_is_caught(gate: ParityGate, checkpoint: Checkpoint, tmp_path: Path) -> None:
    stage = export_onnx(floor_for_ceil(checkpoint), str(tmp_path / "floor.onnx"), ODD)
    assert not gate.compare(open_for_parity(stage.path, CPU)).passed


@pytest.mark.parametrize("options", [ExportOptions(size=TINY), ODD], ids=["static", "odd"])
def test_correct_export_passes(gate: ParityGate, exported: Export, options: ExportOptions) -> None:
    result = gate.compare(open_for_parity(exported(options), CPU))
    assert result.failures == ()
    assert result.outputs[0].probability.largest.value > 0, "two programs never agree in every bit"


def test_correct_fp16_passes(gate: ParityGate, tiny_fp16: Path) -> None:
    result = gate.compare(open_for_parity(tiny_fp16, CPU))
    assert result.failures == ()
    assert result.precision == "fp16"


@pytest.mark.skipif(not computes_in_bf16(), reason="this processor does not compute in BF16")
def test_bf16_has_limits_of_its_own(gate: ParityGate, tiny_onnx: Path, tmp_path: Path) -> None:
    def judge(path: Path) -> StageParity:
        return gate.compare(open_for_parity(path, CPU, backend="openvino-bf16"))

    correct = judge(tiny_onnx)
    assert (correct.precision, correct.failures) == ("bf16", ())
    for name in ("swapped_channels", "missing_residual", "dropped_bias", "wrong_mean"):
        assert not judge(inject(tiny_onnx, FAULTS[name], tmp_path / "faulty.onnx")).passed, name


def test_docs_list_every_fault() -> None:
    listed = {line.split("`")[1] for line in DOCS.read_text().splitlines() if line.startswith("| `")}
    assert listed == set(FAULTS) | {floor_for_ceil.__name__}
