import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Command, Run
from tests.scenes import write_scenes
from u2net.benchmarks.schema import schema_file
from u2net.export import BuildOptions, EngineOptions, ExportOptions
from u2net.export.parity.tolerances import TOLERANCES, Tolerance
from u2net.model.checkpoint import Checkpoint
from u2net.model.network import OUTPUT_NAMES
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import PRESETS, ExportError
from u2net.runtime.device import Device

IMPOSSIBLE = Tolerance(largest=0, mean=0, logit_mean=0, iou=1, mask_largest=0, mask_mean=0)


def test_a_build_writes_and_names_models_reports_and_pictures_and_nothing_else(built: Run) -> None:
    folder, said = built
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    (line,) = [line for line in said.stdout.splitlines() if line.startswith("Wrote to ")]

    assert said.returncode == 0, said.stderr
    assert set(line.partition(": ")[2].split(", ")) == written
    assert written == {
        *("model.onnx", "model.fp16.onnx", "model.engine", "model.engine.json"),
        *("report.json", "report.md", "report.html"),
        *("pictures/astronaut.mask.png", "pictures/astronaut.cutout.png"),
        *("pictures/coffee.mask.png", "pictures/coffee.cutout.png"),
    }


@pytest.mark.parametrize("stage", ["eager", "export", "simplify", "fp16"])
def test_the_table_has_every_stage(built: Run, stage: str) -> None:
    (line,) = [line.split() for line in built[1].stdout.splitlines() if line.strip().startswith(f"{stage} ")]

    assert "MB" in line
    assert line[-1] == ("1.00×" if stage == "eager" else "passed")


def test_the_table_says_what_its_columns_are(built: Run) -> None:
    for column in ("stage", "size", "time", "largest Δ", "mean Δ", "mask IoU", "latency", "vs eager", "gate"):
        assert column in built[1].stdout


def test_an_engine_that_no_gpu_can_run_is_not_called_verified(built: Run) -> None:
    folder, said = built
    (line,) = [line.split() for line in said.stdout.splitlines() if line.strip().startswith("engine ")]
    (note,) = [line for line in said.stdout.splitlines() if line.startswith("The engine by tensorrt-rtx ")]

    assert line[-2:] == ["not", "run"]
    assert " was not run: " in note
    assert note in (folder / "report.md").read_text(encoding="utf-8")
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["build"]["engine"]["parity"] is None


def test_the_report_for_programs_has_every_stage_and_row(built: Run) -> None:
    report = json.loads((built[0] / "report.json").read_text(encoding="utf-8"))

    jsonschema.validate(report, json.loads(schema_file("build").read_text(encoding="utf-8")))
    assert report["passed"] is True
    assert [stage["name"] for stage in report["build"]["stages"]] == ["export", "simplify", "fp16"]
    assert len(report["bench"]["rows"]) == 3
    eager, *files = (row["memory_mb"] for row in report["bench"]["rows"])
    assert max(files) < 0.7 * eager, "a process that runs a file does not import torch"


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_the_pictures_are_masks_and_cut_outs_of_the_photographs(built: Run, pictures: Path, name: str) -> None:
    source = Image.open(pictures / f"{name}.png")
    mask = Image.open(built[0] / "pictures" / f"{name}.mask.png")
    cutout = Image.open(built[0] / "pictures" / f"{name}.cutout.png")

    assert (mask.mode, mask.size) == ("L", source.size)
    np.testing.assert_array_equal(np.asarray(cutout), np.dstack([np.asarray(source), np.asarray(mask)]))


@pytest.mark.usefixtures("quick_bench")
def test_a_build_whose_gate_fails_says_so_and_still_reports(
    run_u2net: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, "fp16", IMPOSSIBLE)
    monkeypatch.setattr("u2net.export.calibration.CALIBRATION_SCENES", 1)

    said = run_u2net("build", "--size", 64, "--rounds", 2, "--no-engine", "-o", tmp_path)

    assert said.returncode == 1
    assert "fp16: d0: mean difference is " in said.stdout
    assert "export: d0" not in said.stdout
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["passed"] is False
    assert not (tmp_path / "pictures").exists()


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ((), BuildOptions()),
        (("--size", "64x96", "--batch", "4"), BuildOptions(ExportOptions(size=(64, 96), batch=4))),
        (
            ("--size", "dynamic", "--outputs", "all"),
            BuildOptions(ExportOptions(None, outputs=OUTPUT_NAMES)),
        ),
        (("--opset", "19", "--preset", "rembg"), BuildOptions(ExportOptions(opset=19, preset=PRESETS["rembg"]))),
        (("--flavour", "tensorrt"), BuildOptions(engine=EngineOptions("tensorrt"))),
        (("--no-engine",), BuildOptions(engine=None)),
        (("--device", "cuda:1"), BuildOptions(device=Device("cuda", 1))),
        (("--eval", "DUTS-TE"), BuildOptions(dataset=Path("DUTS-TE"))),
    ],
)
def test_options_reach_the_stages(
    run_u2net: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], options: BuildOptions
) -> None:
    asked: list[object] = []

    def deploy(checkpoint: Checkpoint, folder: Path, options: BuildOptions, rounds: int, _progress: object) -> None:
        asked.extend((checkpoint.path, folder, options, rounds))
        raise ExportError("enough")

    monkeypatch.setattr("u2net.benchmarks.deploy_checkpoint", deploy)

    said = run_u2net("build", BUNDLED_WEIGHTS, "-o", "there", *words)

    assert said.stderr == "u2net: enough\n"
    assert asked == [BUNDLED_WEIGHTS, Path("there"), options, 10]


@pytest.mark.usefixtures("quick_bench")
def test_a_build_on_a_data_set_tells_what_each_file_costs(
    run_u2net: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("u2net.export.calibration.CALIBRATION_SCENES", 1)
    write_scenes(tmp_path / "scenes", 3, size=64)

    words = ("--size", 64, "--rounds", 2, "--no-engine", "--eval", tmp_path / "scenes")
    said = run_u2net("build", *words, "-o", tmp_path / "out")

    rows = {line.split("  ")[0].strip(): line.split() for line in said.stdout.splitlines() if line.strip()}
    assert rows["metric"] == ["metric", "eager", "model.onnx", "model.fp16.onnx"]
    assert float(rows["MAE"][1]) > 0
    assert [float(cell) for cell in rows["boundary F"][-2:-1]] == [0]
    assert "scenes: 3 pictures" in said.stdout
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| metric | eager | model.onnx | model.fp16.onnx |" in page
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [each["scores"]["pictures"] for each in report["build"]["accuracy"]["evaluations"]] == [3, 3, 3]


def test_folder_without_pictures_is_refused_before_the_work(
    run_u2net: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("u2net.benchmarks.deployment.build_artifacts", pytest.fail)
    said = run_u2net("build", "--images", tmp_path, "-o", tmp_path / "out")
    assert said.returncode == 2
    assert "holds no picture" in said.stderr
