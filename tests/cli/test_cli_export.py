import re
import time
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from tests.cli.conftest import Command
from u2net.export import ExportOptions, GraphStage, export_model
from u2net.export.graph import read_artifact, read_graph
from u2net.model.checkpoint import Checkpoint, load_checkpoint
from u2net.model.network import OUTPUT_NAMES
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import PRESETS, ExportError


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", ExportOptions()),
        ("--size 64", ExportOptions(size=(64, 64))),
        ("--size 64x96", ExportOptions(size=(64, 96))),
        ("--size 64×96", ExportOptions(size=(64, 96))),
        ("--size dynamic", ExportOptions(size=None)),
        ("--batch 3", ExportOptions(batch=3)),
        ("--outputs all", ExportOptions(outputs=OUTPUT_NAMES)),
        ("--outputs d0,d2", ExportOptions(outputs=("d0", "d2"))),
        ("--opset 21", ExportOptions(opset=21)),
        *[
            (f"--preset {name}", ExportOptions(size=(preset.height, preset.width), preset=preset))
            for name, preset in PRESETS.items()
        ],
    ],
)
def test_options_reach_the_exporter(
    run_u2net: Command, monkeypatch: pytest.MonkeyPatch, built_onnx: Path, words: str, options: ExportOptions
) -> None:
    asked: list[object] = []

    def export(checkpoint: Checkpoint, path: Path, options: ExportOptions, **more: Any) -> GraphStage:
        more.pop("progress")
        asked.extend((checkpoint.path, path, options, more))
        return GraphStage(path, 365, 4_600_000, 7.25, read_artifact(read_graph(built_onnx), built_onnx))

    monkeypatch.setattr("u2net.export.export_model", export)

    said = run_u2net("export", *words.split())

    assert said.returncode == 0
    more = dict.fromkeys(("images", "int8", "fusion"))
    assert asked == [BUNDLED_WEIGHTS, Path("model.onnx"), options, {"half": False, **more}]
    assert said.stdout.splitlines() == [
        "model.onnx: u2netp in fp32, input dynamic×3×96×96, outputs d0, opset 17, 365 nodes, 4.6 MB, 7.2 s",
        f"Next: u2net verify {BUNDLED_WEIGHTS} model.onnx",
    ]


@pytest.mark.parametrize("wanted", ["ema", "model"])
@pytest.mark.parametrize(
    ("command", "function"), [("build", "u2net.benchmarks.deploy_checkpoint"), ("export", "u2net.export.export_model")]
)
def test_the_weights_asked_for_are_taken(
    run_u2net: Command, tmp_path: Path, command: str, function: str, wanted: str
) -> None:
    state = load_checkpoint(BUNDLED_WEIGHTS).network.state_dict()
    torch.save({"model": state, "ema": state}, tmp_path / "both.pth")
    taken: list[str | None] = []

    def stop(checkpoint: Checkpoint, *_more: object, **_options: object) -> None:
        taken.append(checkpoint.weights)
        raise ExportError("enough")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(function, stop)
        run_u2net(command, tmp_path / "both.pth", "--weights", wanted)

    assert taken == [wanted]


def test_the_time_is_that_of_all_stages(monkeypatch: pytest.MonkeyPatch, built_onnx: Path, tmp_path: Path) -> None:
    def take_time(*_: object) -> GraphStage:
        time.sleep(0.1)
        return GraphStage(built_onnx, 365, 4_600_000, 0.1, read_artifact(read_graph(built_onnx), built_onnx))

    for stage in ("export_onnx", "simplify_onnx", "convert_fp16"):
        monkeypatch.setattr(f"u2net.export.build.{stage}", take_time)

    assert export_model(BUNDLED_WEIGHTS, tmp_path / "m.onnx", ExportOptions(), half=True).seconds >= 0.3


PROGRESS = {"exporting"}
"""Lines on stderr where the work takes some seconds."""


def shapes(values: Any) -> dict[str, list[int]]:
    """Return the declared shapes of a graph's inputs or outputs by name."""
    return {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in values}


def test_fixed_shape_with_all_outputs(run_u2net: Command, tmp_path: Path) -> None:
    words = "--size 64x96 --batch 2 --outputs all --opset 19 --preset rembg"

    said = run_u2net("export", BUNDLED_WEIGHTS, "-o", tmp_path / "m.onnx", *words.split())

    assert said.returncode == 0, said.stderr
    assert set(said.stderr.splitlines()) <= PROGRESS
    model = onnx.load(tmp_path / "m.onnx")
    assert shapes(model.graph.input) == {"input": [2, 3, 64, 96]}
    assert shapes(model.graph.output) == {name: [2, 1, 64, 96] for name in OUTPUT_NAMES}
    assert (model.opset_import[0].version, model.ir_version) == (19, 9)
    assert read_artifact(read_graph(tmp_path / "m.onnx"), tmp_path).preset == PRESETS["rembg"].with_size(64, 96)
    assert re.search(rf"m\.onnx: u2netp in .* {len(model.graph.node)} nodes, \d\.\d MB, \d+\.\d s\n", said.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_fp16(run_u2net: Command, pictures: Path, built_onnx: Path, tmp_path: Path) -> None:
    words = ("--size", 64, "--precision", "fp16", "--images", pictures)

    said = run_u2net("export", "-o", tmp_path / "half.onnx", *words)

    assert said.returncode == 0, said.stderr
    assert set(said.stderr.splitlines()) <= PROGRESS
    assert read_artifact(read_graph(tmp_path / "half.onnx"), tmp_path).precision == "fp16"
    assert (tmp_path / "half.onnx").stat().st_size < 0.6 * built_onnx.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["half.onnx"]
