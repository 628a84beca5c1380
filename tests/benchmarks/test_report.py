"""Covers benchmarks/report.py, writing.py and suite/row_tables.py."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from u2net.benchmarks.machine import Machine
from u2net.benchmarks.measure import EAGER_TITLE, BenchOptions, BenchReport
from u2net.benchmarks.noise import Noise
from u2net.benchmarks.page import NONE, table
from u2net.benchmarks.report import (
    bench_tables,
    build_page,
    parity_table,
    stage_table,
    write_report,
)
from u2net.benchmarks.statistics import Latency, Ratio
from u2net.benchmarks.suite.contestants import EAGER, Contestant
from u2net.benchmarks.suite.rows import Fidelity, PictureSteps, Row
from u2net.benchmarks.writing import as_json, short_names, write_json
from u2net.export.build import BuildResult, BuiltStage
from u2net.export.graph import GraphStage
from u2net.export.parity.figures import Comparison, Spread, Worst
from u2net.export.parity.gate import Failure, StageParity
from u2net.export.parity.tolerances import find_tolerance
from u2net.runtime.artifact import Agreement, Artifact, InputShape, LayerLoss, Quantization
from u2net.runtime.errors import ExportError
from u2net.runtime.presets import PRESETS

FOLDER = Path("out")
CHECKPOINT = Path("net.pth")
FP32, FP16 = FOLDER / "model.onnx", FOLDER / "model.fp16.onnx"
ARTIFACT = Artifact("u2netp", "ab" * 32, PRESETS["reference"], "fp32", InputShape(None, 320, 320), ("d0",), 1, 18, ())
OUTPUT = Comparison(
    "d0",
    Spread(Worst(2.5e-7, "cat"), 3e-8, Worst(2e-7, "cat")),
    Spread(Worst(1e-5, "cat"), 4e-7, Worst(1e-6, "cat")),
    1.0,
    0,
    Worst(0.0, "cat"),
)
MASK = Comparison("mask", Spread(Worst(1e-6, "cat"), 1e-7, Worst(1e-6, "cat")), None, 0.99987, 13, Worst(0.0, "cat"))
PARITY = StageParity(CHECKPOINT, FP32, "fp32", (OUTPUT,), MASK, find_tolerance("fp32", "cpu"), ())
SPEED_HEADER = ("contestant", "batch", "median ms", "images/s", "vs eager", "IoU", "mean Δ", "peak MB")
STEPS_HEADER = ("contestant", "picture", "decode", "preprocess", "compute", "postprocess", "whole")
FAILURE = Failure("d0", "largest difference", 0.5, 1e-4, "cat")


def stage(name: str, path: Path, *, failures: tuple[Failure, ...] = (), islands: tuple[str, ...] = ()) -> BuiltStage:
    graph = GraphStage(
        path, 365, 4_660_000, 7.25, replace(ARTIFACT, precision="fp16" if islands else "fp32", fp32_nodes=islands)
    )
    return BuiltStage(name, graph, replace(PARITY, candidate=path, failures=failures))


def row(model: Path, batch: int, median: float, ratio: float) -> Row:
    key, title = (EAGER, EAGER_TITLE) if model.suffix == ".pth" else (model.name, model.name)
    return Row(
        Contestant(key, title, "file", title, "fp32"),
        "u2netp",
        batch,
        file=model,
        wall=Latency(median, median + 1.25, median + 2.5),
        images_per_second=batch / median * 1e3,
        ratio=Ratio(1, 1, 1) if ratio == 1 else Ratio(ratio, ratio - 0.1, ratio + 0.1),
        memory_mb=96.4,
        fidelity=Fidelity(4, 0.99987, 3e-5, 0.01),
        pictures=[PictureSteps(720, 1280, 9.0, 236.1, 20.04, 200.0, 7.0)] if model == FP32 and batch == 1 else [],
    )


@pytest.fixture
def build(tmp_path: Path) -> BuildResult:
    """Three stages that passed, the first two in the same file."""
    checkpoint = tmp_path / "net.pth"
    checkpoint.write_bytes(bytes(2_400_000))
    return BuildResult(checkpoint, (stage("export", FP32), stage("simplify", FP32), stage("fp16", FP16)))


@pytest.fixture
def bench(build: BuildResult) -> BenchReport:
    """Two batch sizes, of which the table of stages shows the first."""
    rows = (
        *(row(build.checkpoint, 1, 400, 1.0), row(FP32, 1, 200, 2.0), row(FP16, 1, 250, 1.6)),
        *(row(build.checkpoint, 4, 1600, 1.0), row(FP32, 4, 640, 2.5), row(FP16, 4, 800, 2.0)),
    )
    machine = Machine("Some Processor", 2, "Linux x86_64", "3.12.1", None, {"torch": "2.8"})
    return BenchReport(machine, BenchOptions(threads=2), (320, 320), rows, Noise(0.05, 0.02))


def failed(build: BuildResult) -> BuildResult:
    """The same build, whose last stage left its tolerances and kept two nodes in FP32."""
    last = stage("fp16", FP16, failures=(FAILURE,), islands=("conv_7", "relu_9"))
    return replace(build, stages=(*build.stages[:2], last))


def strict_json(text: str) -> Any:
    """Read JSON by the standard, which has no NaN and no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def tables(page: str) -> list[list[list[str]]]:
    """Tables of a Markdown page: lines of cells."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks]


@dataclass(frozen=True)
class Sample:
    path: Path
    value: float


def test_dataclasses_paths_and_tuples_become_json() -> None:
    value = {1: (Sample(Path("a/b.onnx"), 0.5), None, True, "text")}

    assert as_json(value) == {"1": [{"path": "a/b.onnx", "value": 0.5}, None, True, "text"]}


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("inf"), "inf"), (float("-inf"), "-inf"), (float("nan"), "nan")],
)
def test_what_json_cannot_say_is_text(tmp_path: Path, value: float, text: str) -> None:
    write_json(tmp_path / "x.json", {"deep": [Sample(Path("x"), value)]})

    assert strict_json((tmp_path / "x.json").read_text())["deep"][0]["value"] == text


def test_the_row_of_a_stage_says_what_was_measured(build: BuildResult, bench: BenchReport) -> None:
    cells = stage_table(build, bench)[1][2]

    assert cells == (
        *("simplify", "4.7 MB", "7.2 s", "2.5e-07", "3.0e-08", "0.99987"),
        *("200 ms", "2.00×", "passed"),
    )


def test_eager_is_the_first_row(build: BuildResult, bench: BenchReport) -> None:
    assert stage_table(build, bench)[1][0] == ("eager", "2.4 MB", NONE, NONE, NONE, NONE, "400 ms", "1.00×", "")


def test_a_file_that_a_later_stage_replaced_has_no_latency(build: BuildResult, bench: BenchReport) -> None:
    assert [cells[6:8] for cells in stage_table(build, bench)[1][1:]] == [
        (NONE, NONE),
        ("200 ms", "2.00×"),
        ("250 ms", "1.60×"),
    ]


def test_a_stage_that_left_its_tolerances_is_marked(build: BuildResult, bench: BenchReport) -> None:
    assert [cells[-1] for cells in stage_table(failed(build), bench)[1]] == ["", "passed", "passed", "FAILED"]


def test_the_rows_of_an_output_say_how_far_it_is_off() -> None:
    header, (probabilities, logits, mask) = parity_table(PARITY)

    assert probabilities == ("d0", "2.5e-07", "cat", "2.0e-07", "3.0e-08", "1.000000", "0")
    assert logits == ("d0 logits", "1.0e-05", "cat", "1.0e-06", "4.0e-07", NONE, NONE)
    assert mask == ("mask", "1.0e-06", "cat", "1.0e-06", "1.0e-07", "0.999870", "0")
    assert len(header) == len(probabilities)


def test_an_infinite_difference_can_be_written() -> None:
    broken = replace(OUTPUT, probability=replace(OUTPUT.probability, largest=Worst(float("inf"), "cat")))

    assert parity_table(replace(PARITY, outputs=(broken,)))[1][0][1] == "inf"


def test_the_tables_of_a_benchmark(bench: BenchReport) -> None:
    (header, rows), steps = bench_tables(bench)

    assert header == SPEED_HEADER
    assert rows[4] == ("model.onnx", "4", "640.0", "6.25", "2.50× (2.40–2.60)", "0.9999", "3.0e-05", "96")
    assert rows[0][:5] == (EAGER_TITLE, "1", "400.0", "2.50", "1")
    assert steps == (STEPS_HEADER, [("model.onnx", "1280×720", "9", "20", "200", "7", "236")])


def test_a_model_that_did_not_run_says_why_in_place_of_its_time(build: BuildResult, bench: BenchReport) -> None:
    failed_row = Row(bench.rows[2].contestant, "u2netp", 1, file=FP16, error="it was killed")
    report = replace(bench, rows=(*bench.rows[:2], failed_row, *bench.rows[3:]))

    assert bench_tables(report)[0][1][2] == ("model.fp16.onnx", "1", "it was killed", *[NONE] * 5)
    assert stage_table(build, report)[1][3][6:8] == (NONE, NONE)
    page = build_page(build, report).markdown()
    warning = "**model.fp16.onnx, u2netp, batch 1: it was killed**\n"
    assert page.index(warning) < page.index("## Parity"), "beside the ratios"


def test_models_of_one_name_are_told_apart_by_their_folders() -> None:
    paths = [Path(name) for name in ("x/a/m.onnx", "x/b/m.onnx", "m.onnx", "x/b/other.onnx", "x/b/other.onnx")]

    assert short_names(paths) == ["a/m.onnx", "b/m.onnx", "m.onnx", "other.onnx", "other.onnx"]


def test_every_line_of_a_table_has_the_same_cells(build: BuildResult, bench: BenchReport) -> None:
    found = tables(build_page(build, bench).markdown())

    assert [tuple(cell.strip() for cell in block[0]) for block in found] == [
        stage_table(build, bench)[0],
        ("stage", *parity_table(PARITY)[0]),
        SPEED_HEADER,
        STEPS_HEADER,
    ]
    for block in found:
        assert len({len(cells) for cells in block}) == 1
        assert {cell.strip() for cell in block[1]} == {"---"}


def test_a_bar_in_a_name_does_not_split_a_cell() -> None:
    (block,) = tables(table(("picture", "value"), [("left|right.png", "1")]))

    assert [len(cells) for cells in block] == [2, 2, 2]


def test_the_page_says_that_all_is_well(build: BuildResult, bench: BenchReport) -> None:
    page = build_page(build, bench).markdown()

    assert "Every stage is within its tolerances; the fastest file, `model.onnx`, has 2.50× eager" in page
    assert page.count("Limits of fp32: probabilities 5e-05 at most and 3e-07 on average") == 1
    assert "stay in FP32 in the FP16 graph: none. Nodes: export 365, simplify 365, fp16 365" in page


def test_the_page_says_what_is_wrong(build: BuildResult, bench: BenchReport) -> None:
    page = build_page(failed(build), bench).markdown()

    assert "A stage left its tolerances" in page
    assert "- fp16: d0: largest difference is 0.5 on cat, the limit 0.0001\n" in page
    assert "stay in FP32 in the FP16 graph: conv_7, relu_9." in page


def test_the_page_says_what_was_built(build: BuildResult, bench: BenchReport) -> None:
    page = build_page(build, bench).markdown()

    assert page.startswith("# u2netp from net.pth\n")
    for fact in ("ab" * 32, "dynamic×3×320×320", "`reference`", "opset 18"):
        assert fact in page


@pytest.mark.parametrize("gpu", [None, "H200"])
def test_the_page_says_what_it_was_measured_on(build: BuildResult, bench: BenchReport, gpu: str | None) -> None:
    page = build_page(build, replace(bench, machine=replace(bench.machine, gpu=gpu))).markdown()

    assert ("- gpu: H200\n" in page) == (gpu is not None)
    for fact in ("- cores: 2\n", "10 rounds in turns, 2 threads", "Some Processor", "torch 2.8"):
        assert fact in page


def test_no_file_is_called_faster_if_none_is(build: BuildResult, bench: BenchReport) -> None:
    page = build_page(build, replace(bench, rows=(bench.rows[0],)))

    assert page.verdict == "Every stage is within its tolerances; no file is faster than eager PyTorch."


def test_the_json_holds_figures_of_stages_and_rows(build: BuildResult, bench: BenchReport, tmp_path: Path) -> None:
    path = write_report(tmp_path, failed(build), bench, [], [])[0]
    content = strict_json(path.read_text(encoding="utf-8"))

    last = content["build"]["stages"][-1]
    assert last["parity"]["failures"][0]["figure"] == "largest difference"
    assert last["graph"]["artifact"]["fp32_nodes"] == ["conv_7", "relu_9"]
    assert [each["batch"] for each in content["bench"]["rows"]] == [1, 1, 1, 4, 4, 4]
    assert content["bench"]["machine"]["processor"] == "Some Processor"


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()

    with pytest.raises(ExportError, match=r"x\.json cannot be written"):
        write_json(tmp_path / "x.json", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_the_page_tells_what_each_convolution_of_an_int8_file_costs(build: BuildResult, bench: BenchReport) -> None:
    losses = (LayerLoss("deep", 1e-6), LayerLoss("side1", 2e-4))
    made = Quantization("cpu", "minmax", 100, 99, Agreement(0.99, 0.95, 1e-3), losses)
    last = stage("int8", FP16)
    artifact = replace(ARTIFACT, precision="int8", fp32_nodes=("side1", "outconv"), quantization=made)
    last = replace(last, graph=replace(last.graph, artifact=artifact))

    text = build_page(replace(build, stages=(*build.stages, last)), bench).markdown()

    assert "For the target cpu: 1 of 3 convolutions are in INT8, calibrated (minmax) on 100 photographs. On 99 " in text
    assert "| side1 | 2.0e-04 | FP32 |\n| deep | 1.0e-06 | INT8 |\n" in text
    assert "## INT8" not in build_page(build, bench).markdown()
