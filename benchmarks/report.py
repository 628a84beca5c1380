"""The report of a build: report.json for programs, report.md and report.html for people."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from u2net.benchmarks.measure import BenchReport
from u2net.benchmarks.page import NONE, Figure, Page, Section, Table, machine_section, picture_uri
from u2net.benchmarks.suite.row_tables import STEPS_TEXT, speed_plots, speed_table, steps_table
from u2net.benchmarks.suite.rows import Row
from u2net.benchmarks.writing import write_json, write_page
from u2net.export.accuracy import LARGEST_COST, LARGEST_INT8_COST, LEAST_PICTURES, METRICS, AccuracyReport
from u2net.export.build import BuildResult
from u2net.export.engine import EngineStage
from u2net.export.graph import GraphStage
from u2net.export.parity.figures import Spread
from u2net.export.parity.gate import StageParity
from u2net.runtime.images import open_picture
from u2net.runtime.pictures import PictureFiles

PICTURES_SHOWN = 12
"""Largest number of photographs on a page."""

BENCH_TEXT = (
    "Times are of whole batches. IoU and mean Δ compare the maps with eager PyTorch's on synthetic scenes. Peak memory "
    "is that of a process that runs one model."
)


def stage_table(build: BuildResult, bench: BenchReport) -> Table:
    """A row for eager PyTorch, then one for each stage. A file that a later stage replaced has no latency."""
    single = {row.file: row for row in bench.rows if row.batch == bench.rows[0].batch}
    last = {stage.graph.path: stage.name for stage in build.stages}
    rows = [("eager", _size(build.checkpoint.stat().st_size), *[NONE] * 4, *_speed(single.get(build.checkpoint)), "")]
    for stage in build.stages:
        row = single.get(stage.graph.path) if last[stage.graph.path] == stage.name else None
        rows.append(_stage_cells(stage.name, stage.graph, stage.parity, row))
    if build.engine and build.engine.stage:
        compiled = build.engine.stage
        rows.append(_stage_cells("engine", compiled, build.engine.parity, single.get(compiled.path)))
    return ("stage", "size", "time", "largest Δ", "mean Δ", "mask IoU", "latency", "vs eager", "gate"), rows


def _stage_cells(
    name: str, file: GraphStage | EngineStage, parity: StageParity | None, row: Row | None
) -> tuple[str, ...]:
    figures, verdict = (NONE, NONE, NONE), "not run"
    if parity is not None:
        spread = parity.outputs[0].probability
        figures = (f"{spread.largest.value:.1e}", f"{spread.mean:.1e}", f"{parity.mask.iou:.5f}")
        verdict = "passed" if parity.passed else "FAILED"
    return (name, _size(file.size_bytes), f"{file.seconds:.1f} s", *figures, *_speed(row), verdict)


def _speed(row: Row | None) -> tuple[str, str]:
    return (
        f"{row.wall.median_ms:.0f} ms" if row and row.wall else NONE,
        f"{row.ratio.value:.2f}×" if row and row.ratio else NONE,
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def write_report(
    folder: Path, build: BuildResult, bench: BenchReport, pictures: Sequence[PictureFiles], figures: Sequence[Figure]
) -> tuple[Path, ...]:
    """Write ``report.json``, ``report.md`` and ``report.html`` and return their paths."""
    page = build_page(build, bench, figures)
    write_json(folder / "report.json", {"passed": build.passed, "build": build, "bench": bench, "pictures": pictures})
    return (folder / "report.json", *write_page(folder / "report", page))


def build_page(build: BuildResult, bench: BenchReport, pictures: Sequence[Figure] = ()) -> Page:
    """Return the report for people.

    Args:
        pictures: what :func:`show_pictures` returns.
    """
    artifact = build.stages[0].graph.artifact
    facts = (
        f"Checkpoint SHA-256 `{artifact.checkpoint_sha256}`, input {artifact.shape}, preset `{artifact.preset.name}`, "
        f"opset {artifact.opset}. Δ is the absolute difference of `d0`'s probabilities from eager PyTorch; IoU is of "
        "the final masks."
    )
    gate = "Every stage is within its tolerances" if build.passed else "A stage left its tolerances"
    fastest = "no file is faster than eager PyTorch"
    ratios = [(row.ratio, row) for row in bench.rows if row.ratio]
    if bench.noise.warning:
        fastest = "speeds were measured on a machine too busy to compare them"
    elif ratios:
        ratio, best = max(ratios, key=lambda pair: pair[0].value)
        if ratio.low > 1:
            gain = f"{ratio.value:.2f}× eager PyTorch's speed ({ratio.low:.2f}–{ratio.high:.2f})"
            fastest = f"the fastest file, `{best.contestant.title}`, has {gain} at batch {best.batch}"
    remarks = [build.engine.remark] if build.engine and build.engine.remark else []
    sections = (
        Section("Stages", facts, stage_table(build, bench), remarks),
        Section("Photographs", "Masks and cut-outs by the FP32 file.", tabs={"": pictures} if pictures else {}),
        _parity(build),
        _quantization(build),
        *([_accuracy(build.accuracy)] if build.accuracy else []),
        *_speed_sections(bench),
    )
    return Page(f"{artifact.variant} from {build.checkpoint.name}", f"{gate}; {fastest}.", bench.warnings, sections)


def show_pictures(pictures: Sequence[PictureFiles]) -> list[Figure]:
    """Show the first photographs with the masks and cut-outs written for them."""
    return [
        Figure(
            each.source.name,
            {
                "photograph": picture_uri(open_picture(each.source, "RGB")),
                "mask": picture_uri(Image.open(each.mask)),
                "cut-out": picture_uri(Image.open(each.cutout)),
            },
        )
        for each in pictures[:PICTURES_SHOWN]
    ]


def parity_table(parity: StageParity) -> Table:
    """The figures of each output's probabilities, then of its logits, and those of the mask."""
    rows = list[tuple[str, ...]]()
    for each in (*parity.outputs, parity.mask):
        rows.append((each.output, *_spread_cells(each.probability), f"{each.iou:.6f}", f"{each.nonfinite.value:.0f}"))
        if each.logit is not None:
            rows.append((f"{each.output} logits", *_spread_cells(each.logit), NONE, NONE))
    return ("output", "largest", "on", "99.9 %", "mean", "IoU", "NaN, Inf"), rows


def _spread_cells(spread: Spread) -> tuple[str, ...]:
    return f"{spread.largest.value:.1e}", spread.largest.image, f"{spread.p999.value:.1e}", f"{spread.mean:.1e}"


def _parity(build: BuildResult) -> Section:
    parities = build.parities()
    tables = {name: parity_table(parity) for name, parity in parities.items()}
    header = next(iter(tables.values()))[0]
    rows = [(name, *row) for name, (_, rows) in tables.items() for row in rows]
    failures = [f"{name}: {failure}" for name, parity in parities.items() for failure in parity.failures]
    nodes = ", ".join(f"{stage.name} {stage.graph.nodes}" for stage in build.stages)
    fp16 = [stage.graph.artifact for stage in build.stages if stage.graph.artifact.precision == "fp16"]
    islands = ", ".join(node for artifact in fp16 for node in artifact.fp32_nodes) or "none"
    limits = sorted({f"Limits of {each.precision}: {each.tolerance}." for each in parities.values()})
    kept = f"Nodes that stay in FP32 in the FP16 graph: {islands}. Nodes: {nodes}."
    return Section("Parity", " ".join([*limits, kept]), (("stage", *header), rows), failures)


def _quantization(build: BuildResult) -> Section:
    """How the INT8 graph was made, and what each convolution costs; empty if there is none."""
    artifact = build.stages[-1].graph.artifact
    made = artifact.quantization
    if made is None:
        return Section("INT8")
    count = sum(each.name not in artifact.fp32_nodes for each in made.losses)
    text = (
        f"For the target {made.target}: {count} of {count + len(artifact.fp32_nodes)} "
        f"convolutions are in INT8, calibrated ({made.calibrator}) on {made.calibration_images} photographs. On "
        f"{made.held_out_images} others the maps have {made.agreement} to the FP32 graph's. The loss of a convolution "
        "is the mean difference of probabilities if it alone is in INT8."
    )
    rows = [
        (each.name, f"{each.loss:.1e}", "FP32" if each.name in artifact.fp32_nodes else "INT8")
        for each in reversed(made.losses)
    ]
    return Section("INT8", text, (("convolution", "loss", "stays in"), rows))


def accuracy_table(report: AccuracyReport) -> Table:
    """A row for each metric: eager PyTorch's score, then what each file changes in it."""
    rows = []
    for name, title in METRICS.items():
        before, *after = (getattr(each.scores, name) for each in report.evaluations)
        changes = (round(score - before, 5) for score in after)
        rows.append((title, f"{before:.4f}", *(f"{change:+.5f}" if change else "0.00000" for change in changes)))
    return ("metric", "eager", *(Path(each.model).name for each in report.evaluations[1:])), rows


def _accuracy(report: AccuracyReport) -> Section:
    """What deployment costs in the task's metrics."""
    text = (
        f"On the {report.pictures} pictures of {report.dataset}: eager PyTorch's scores, and what each file changes "
        f"in them. On {LEAST_PICTURES} pictures or more at most {LARGEST_COST} may be lost, and {LARGEST_INT8_COST} by "
        "INT8."
    )
    return Section("Accuracy", text, accuracy_table(report), report.failures)


def bench_tables(bench: BenchReport) -> tuple[Table, Table]:
    """Speed, memory and fidelity of each model at each batch size; and the steps of one picture."""
    return speed_table(bench.rows, {"network", "of limit"}), steps_table(bench.rows, {"network"})


def _speed_sections(bench: BenchReport) -> list[Section]:
    """The tables of a benchmark, and the machine and settings behind them."""
    options, (speeds, steps) = bench.options, bench_tables(bench)
    settings = (
        f"{options.rounds} rounds in turns, {options.threads} threads, device {options.device}, input "
        f"{bench.input_size[0]}×{bench.input_size[1]}"
    )
    return [
        Section("Speed", BENCH_TEXT, speeds, plots=speed_plots(bench.rows)),
        Section("From picture to mask, in milliseconds", STEPS_TEXT, steps),
        machine_section(bench.machine, settings),
    ]
