"""The suite's report: JSON for programs, Markdown for people."""

from pathlib import Path

from u2net.benchmarks.report import NONE, table, write_json, write_text
from u2net.benchmarks.suite.contestants import EAGER
from u2net.benchmarks.suite.gpu_report import gpu_markdown
from u2net.benchmarks.suite.rows import Row, knee
from u2net.benchmarks.suite.suite import SuiteReport
from u2net.runtime.files import make_folder

SUITE_HEADER = (
    "contestant",
    "network",
    "batch",
    "median ms",
    "images/s",
    "vs eager",
    "of limit",
    "IoU",
    "mean Δ",
    "peak MB",
)
STEPS_HEADER = ("contestant", "network", "picture", "decode", "preprocess", "compute", "postprocess", "whole")
LOAD_HEADER = ("contestant", "network", "callers", "contexts", "images/s", "median ms", "p99 ms", "knee")
COLD_STEPS = ("import", "build", "open", "first_run")
COLD_HEADER = ("contestant", "network", *(f"{step.replace('_', ' ')} s" for step in COLD_STEPS), "provider")


def write_suite(report: SuiteReport, folder: Path, name: str) -> None:
    """Write ``NAME.json`` and ``NAME.md``."""
    make_folder(folder)
    write_json(folder / f"{name}.json", report)
    write_text(folder / f"{name}.md", suite_markdown(report))


def suite_cells(report: SuiteReport) -> list[tuple[str, ...]]:
    """Every row as text, in the order of :data:`SUITE_HEADER`; a row without figures says why in place of its time."""
    return [_cells(row) for row in report.rows]


def _cells(row: Row) -> tuple[str, ...]:
    start = (row.contestant.title, row.network, str(row.batch))
    if row.wall is None or row.images_per_second is None:
        return (*start, row.error, *[NONE] * 6)
    ratio = "1" if row.contestant.key == EAGER else NONE
    if row.ratio is not None and row.contestant.key != EAGER:
        interval = f"{row.ratio.low:.2f}–{row.ratio.high:.2f}"
        ratio = f"tie ({interval})" if row.verdict == "tie" else f"{row.ratio.value:.2f}× ({interval})"
    fidelity = (NONE, NONE) if row.fidelity is None else (f"{row.fidelity.iou:.4f}", f"{row.fidelity.mean:.1e}")
    limit = NONE if row.limit_share is None else f"{row.limit_share:.0%}"
    memory = NONE if row.memory_mb is None else f"{row.memory_mb:.0f}"
    return (*start, f"{row.wall.median_ms:.1f}", f"{row.images_per_second:.2f}", ratio, limit, *fidelity, memory)


def suite_markdown(report: SuiteReport) -> str:
    """Return the page."""
    machine, options = report.machine, report.options
    steps = [
        (
            row.contestant.title,
            row.network,
            f"{each.height}×{each.width}",
            *(
                NONE if value is None else f"{value:.0f}"
                for value in (each.decode, each.preprocess, each.compute, each.postprocess, each.whole)
            ),
        )
        for row in report.rows
        for each in row.pictures
    ]
    load = [
        (
            row.contestant.title,
            row.network,
            str(each.callers),
            str(each.contexts),
            f"{each.images_per_second:.2f}",
            f"{each.latency.median_ms:.0f}",
            f"{each.latency.p99_ms:.0f}",
            "knee" if each.callers == knee(row.load) else "",
        )
        for row in report.rows
        for each in row.load
    ]
    cold = [
        (
            row.contestant.title,
            row.network,
            *(f"{row.cold[step]:.2f}" if step in row.cold else NONE for step in COLD_STEPS),
            row.provider,
        )
        for row in report.rows
        if row.wall and row.batch == min(options.batches)
    ]
    absent = [row for row in report.rows if row.error]
    notes = [f"- {note}\n" for note in report.notes]
    notes += [f"- {row.contestant.title}, {row.network}, batch {row.batch}: {row.error}\n" for row in absent]
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    parts = (
        f"# U²-Net on {machine.gpu or machine.processor}\n",
        *(f"**{warning}**\n" for warning in report.warnings),
        table(SUITE_HEADER, suite_cells(report)),
        "Times are medians of whole batches from host memory to host memory, taken in turns with eager PyTorch; the "
        "ratio has a 95 % bootstrap interval, and an interval that includes 1 is a tie. IoU and mean Δ compare the "
        f"maps with eager FP32 on {report.photographs}. Peak memory is that of a process that runs one contestant.\n",
        _limits(report),
        gpu_markdown(report),
        *(["## What did not run\n", "".join(notes)] if notes else []),
        "## From file to mask, in milliseconds\n",
        table(STEPS_HEADER, steps),
        "## Several callers at once\n",
        table(LOAD_HEADER, load),
        "The knee is the smallest number of callers that reaches 95 % of the largest throughput.\n",
        "## From start to the first map, in seconds\n",
        table(COLD_HEADER, cold),
        f"{machine.cores} cores, {options.threads or 'default'} threads, device {options.device}, at most "
        f"{options.rounds} rounds, seed {options.seed}; {machine.processor}, {machine.system}, "
        f"Python {machine.python}, {versions}.\n",
    )
    return "\n".join(parts)


def _limits(report: SuiteReport) -> str:
    reached = [
        f"{each.flops / 1e12:.2f} TFLOP/s and {each.bytes / 1e9:.0f} GB/s in {name.upper()}"
        for name, each in report.ceilings.items()
    ]
    work = [f"{network} takes {each:.1f} GFLOP an image" for network, each in report.gigaflops.items()]
    return (
        f"In this run PyTorch reached {', '.join(reached)} in a large matrix product and a copy; {', '.join(work)} in "
        'its convolutions. "Of limit" is the time that their arithmetic or their traffic would take at that speed, '
        "whichever is longer in each layer, as a share of the median.\n"
    )
