"""Covers export/parity/gate.py, sessions.py and inputs.py, and model/placing.py."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import torch

from tests.export.conftest import ODD_PAIRS, SEVEN_OUTPUTS, TINY, restated
from u2net.export.graph import read_artifact, read_graph, write_graph
from u2net.export.onnx_export import ExportOptions
from u2net.export.parity import ParityGate, VerifyOptions, verify_models
from u2net.export.parity.inputs import sized_presets
from u2net.export.parity.sessions import open_for_parity
from u2net.model.checkpoint import Checkpoint
from u2net.model.network import OUTPUT_NAMES
from u2net.model.placing import full_fp32
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.artifact import InputShape
from u2net.runtime.device import CPU
from u2net.runtime.errors import InputError, ProfileError
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.presets import PRESETS

Export = Callable[[ExportOptions], Path]


@pytest.fixture
def on_photographs(photograph_folder: Path) -> VerifyOptions:
    return VerifyOptions(images=photograph_folder)


def test_two_graphs_can_be_compared(tiny_onnx: Path, tiny_fp16: Path, on_photographs: VerifyOptions) -> None:
    same, rounded = verify_models(tiny_onnx, [tiny_onnx, tiny_fp16], on_photographs)
    assert same.passed and rounded.passed
    assert same.outputs[0].probability.largest.value == 0
    assert rounded.outputs[0].probability.largest.value > 0
    assert (same.precision, rounded.precision) == ("fp32", "fp16")


def test_every_output_and_the_mask_are_compared(exported: Export, on_photographs: VerifyOptions) -> None:
    path = exported(SEVEN_OUTPUTS)
    (result,) = verify_models(BUNDLED_WEIGHTS, [path], on_photographs)
    assert [each.output for each in result.outputs] == [*OUTPUT_NAMES]
    assert result.passed


def test_dynamic_size_is_tried_at_two_sizes(
    dynamic_onnx: Path, on_photographs: VerifyOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("u2net.export.parity.inputs.OTHER_SIZE", (96, 160))
    (result,) = verify_models(BUNDLED_WEIGHTS, [dynamic_onnx], on_photographs)
    assert result.passed
    assert "×" in result.outputs[0].probability.largest.image


def test_fixed_batch_is_filled(exported: Export, on_photographs: VerifyOptions) -> None:
    assert verify_models(BUNDLED_WEIGHTS, [exported(ODD_PAIRS)], on_photographs)[0].passed


def test_without_images_synthetic_scenes_serve(tiny_onnx: Path) -> None:
    (result,) = verify_models(BUNDLED_WEIGHTS, [tiny_onnx])
    assert result.passed
    assert result.outputs[0].iou <= 1


def test_failure_names_output_image_and_figure(tiny_onnx: Path, tmp_path: Path, on_photographs: VerifyOptions) -> None:
    wrong = replace(PRESETS["reference"].with_size(*TINY), mean=(0.0, 0.0, 0.0))
    path = restated(tiny_onnx, tmp_path / "other.onnx", preset=wrong)
    (result,) = verify_models(BUNDLED_WEIGHTS, [path], on_photographs)
    texts = [str(failure) for failure in result.failures]
    assert any(text.startswith("mask: largest difference is") and ".png" in text for text in texts)
    assert all(failure.output == "mask" for failure in result.failures), "the tensors themselves are right"


def test_preset_can_be_named(tiny_onnx: Path, tmp_path: Path, on_photographs: VerifyOptions) -> None:
    path = restated(tiny_onnx, tmp_path / "other.onnx", preset=PRESETS["rembg"].with_size(*TINY))
    (own,) = verify_models(BUNDLED_WEIGHTS, [path], on_photographs)
    (other,) = verify_models(BUNDLED_WEIGHTS, [path], replace(on_photographs, preset=PRESETS["reference"]))
    assert own.passed
    assert not other.passed


def test_a_preset_of_ones_own_passes(tiny_onnx: Path, tmp_path: Path, on_photographs: VerifyOptions) -> None:
    own = replace(PRESETS["rembg"].with_size(*TINY), name="mine", mean=(0.5, 0.4, 0.3))
    path = restated(tiny_onnx, tmp_path / "other.onnx", preset=own)
    (result,) = verify_models(BUNDLED_WEIGHTS, [path], replace(on_photographs, preset=own))
    assert result.passed


def test_foreign_graph_is_judged_by_a_named_preset(
    tiny_onnx: Path, tmp_path: Path, on_photographs: VerifyOptions
) -> None:
    model = onnx.load(tiny_onnx)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    options = replace(on_photographs, preset=PRESETS["reference"])
    assert verify_models(BUNDLED_WEIGHTS, [tmp_path / "foreign.onnx"], options)[0].passed


def test_output_that_the_reference_lacks_is_refused(exported: Export, tiny_onnx: Path) -> None:
    with pytest.raises(InputError, match="d1"):
        verify_models(tiny_onnx, [exported(SEVEN_OUTPUTS)])


def test_a_graph_of_the_other_network_is_refused(u2net_checkpoint: Checkpoint, tiny_onnx: Path) -> None:
    with pytest.raises(InputError, match=r"is u2netp, the reference .* is u2net; name its own checkpoint"):
        verify_models(u2net_checkpoint.path, [tiny_onnx])


def test_tf32_is_off_inside_and_restored_after() -> None:
    torch.backends.cudnn.allow_tf32 = True
    with full_fp32():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32


@dataclass
class StubSession:
    """Takes the sizes of its shape, and as an engine only those within its profile."""

    info: SimpleNamespace
    profile: range

    def infer(self, tensor: FloatArray, _outputs: list[str]) -> None:
        if not set(tensor.shape[2:]) <= set(self.profile):
            raise ProfileError("no profile")


@pytest.mark.parametrize(
    ("shape", "profile", "sizes"),
    [
        (InputShape(1, None, None), range(2049), [(64, 64), (224, 416)]),
        (InputShape(1, 160, None), range(2049), [(160, 64), (160, 416)]),
        (InputShape(1, 160, 192), range(2049), [(160, 192)]),
        (InputShape(1, None, None), range(32, 97), [(64, 64), (96, 96)]),
        (InputShape(1, None, None), range(64, 65), [(64, 64)]),
    ],
)
def test_the_second_size_is_one_that_every_session_takes(
    shape: InputShape, profile: range, sizes: list[tuple[int, int]]
) -> None:
    free, other = (
        StubSession(SimpleNamespace(shape=each, mask_output="d0"), limits)
        for each, limits in ((InputShape(None, None, None, any_size=True), range(2049)), (shape, profile))
    )

    for pair in ((free, other), (other, free)):
        presets = sized_presets(pair, PRESETS["reference"].with_size(64, 64))  # type: ignore[arg-type]
        assert [(each.height, each.width) for each in presets] == sizes


def test_a_fixed_size_is_compared_with_a_dynamic_reference(
    dynamic_onnx: Path, tiny_onnx: Path, on_photographs: VerifyOptions
) -> None:
    assert verify_models(dynamic_onnx, [tiny_onnx], on_photographs)[0].passed


def test_the_reference_computes_only_what_is_compared_and_nothing_twice(
    exported: Export, tmp_path: Path, photograph_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seven = exported(SEVEN_OUTPUTS)
    model = read_graph(seven)
    artifact = replace(read_artifact(model, seven), outputs=("d0",))
    del model.graph.outputs[1:]
    one = write_graph(model, tmp_path / "one.onnx", artifact, 0.0).path
    monkeypatch.setattr("u2net.export.parity.inputs.hard_images", dict)
    reference = open_for_parity(BUNDLED_WEIGHTS, CPU)
    asked: list[str] = []
    infer = reference.infer

    def note(tensor: FloatArray, names: list[str]) -> dict[str, FloatArray]:
        asked.extend(names)
        return infer(tensor, names)

    monkeypatch.setattr(reference, "infer", note)
    gate = ParityGate(reference, VerifyOptions(photograph_folder))

    for path in (one, one, seven):
        assert gate.compare(open_for_parity(path, CPU)).passed

    assert asked == ["d0"] * 2 + [*OUTPUT_NAMES[1:]] * 2, "two photographs"
