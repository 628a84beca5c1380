"""The suite's report: JSON for programs, Markdown and HTML for people."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from u2net.benchmarks.page import Page, Section, machine_section, make_table, show
from u2net.benchmarks.plots import NEVER, plot_lines, plot_points
from u2net.benchmarks.statistics import Latency, Ratio
from u2net.benchmarks.suite.gallery import GALLERY_TEXT, show_maps
from u2net.benchmarks.suite.gpu import EngineLayers
from u2net.benchmarks.suite.growth import growth_section
from u2net.benchmarks.suite.inputs import PICTURE_SIZES, middle_size
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.row_tables import (
    STEPS_TEXT,
    bar_plots,
    describe_troubles,
    speed_plots,
    speed_table,
    steps_table,
    timed_rows,
)
from u2net.benchmarks.suite.rows import P99_RUNS, Load, Row, knee
from u2net.benchmarks.suite.suite import SuiteReport
from u2net.benchmarks.suite.verdict import give_verdict
from u2net.benchmarks.writing import write_json, write_page
from u2net.runtime.files import make_folder

LOAD: Mapping[str, Callable[[tuple[Row, Load]], str]] = {
    "contestant": lambda pair: pair[0].contestant.title,
    "network": lambda pair: pair[0].network,
    "callers": lambda pair: str(pair[1].callers),
    "contexts": lambda pair: show(pair[1].contexts),
    "images/s": lambda pair: f"{pair[1].images_per_second:.2f}",
    "median ms": lambda pair: f"{pair[1].latency.median_ms:.0f}",
    "p90 ms": lambda pair: f"{pair[1].latency.p90_ms:.0f}",
    "knee": lambda pair: "knee" if pair[1].callers == knee(pair[0].load) else "",
}

COLD: Mapping[str, Callable[[Row], str]] = {
    "contestant": lambda row: row.contestant.title,
    "network": lambda row: row.network,
    "import s": lambda row: show(row.cold.get("import"), ".2f"),
    "build s": lambda row: show(row.cold.get("build"), ".2f"),
    "open s": lambda row: show(row.cold.get("open"), ".2f"),
    "first run s": lambda row: show(row.cold.get("first_run"), ".2f"),
    "provider": lambda row: row.provider,
}

GPU: Mapping[str, Callable[[Row], str]] = {
    "contestant": lambda row: row.contestant.title,
    "network": lambda row: row.network,
    "batch": lambda row: str(row.batch),
    "device ms": lambda row: show(row.device and row.device.median_ms, ".2f"),
    "device p99": lambda row: _p99(row.device, row.runs),
    "vs eager": lambda row: show(row.device_ratio),
    "wall ms": lambda row: show(row.wall and row.wall.median_ms, ".2f"),
    "wall p99": lambda row: _p99(row.wall, row.runs),
    "GPU MB": lambda row: show(row.gpu_memory_mb, ".0f"),
    "why no device time": lambda row: row.device_note,
}


def write_suite(report: SuiteReport, folder: Path, name: str) -> None:
    """Write ``NAME.json``, ``NAME.md`` and ``NAME.html``."""
    make_folder(folder)
    write_json(folder / f"{name}.json", report)
    write_page(folder / name, suite_page(report))


def suite_page(report: SuiteReport) -> Page:
    """Return the report for people."""
    first = [row for row in report.rows if row.wall and row.batch == min(report.options.batches)]
    sections = (
        _matrix(report),
        *_gpu_sections(report),
        Section("Speed against fidelity", "Up and to the left is better.", plots=_fidelity_plots(report)),
        Section("Photographs", GALLERY_TEXT, tabs=show_maps(report)),
        _load(report),
        Section("From file to mask, in milliseconds", STEPS_TEXT, steps_table(report.rows)),
        _limits(report),
        Section("From start to the first map, in seconds", table=make_table(COLD, first)),
        growth_section(report.growth),
        Section("What did not run, and warnings", notes=[*report.notes, *describe_troubles(report.rows)]),
        _environment(report),
        Section("Run it again", command=repeat_command(report.options)),
    )
    title = f"U²-Net on {report.machine.gpu or report.machine.processor}"
    return Page(title, give_verdict(report.rows), report.warnings, sections)


def _matrix(report: SuiteReport) -> Section:
    text = (
        "Times are medians of whole batches from host memory to host memory, taken in turns with eager PyTorch; the "
        "ratio has a 95 % bootstrap interval, and an interval that includes 1 is a tie. IoU and mean Δ compare the "
        f"maps with eager FP32 on {report.photographs}. Peak memory is that of a process that runs one contestant. "
        "Graphs of images get pictures of the network's size here, so they resize nothing; they do not stretch masks."
    )
    return Section("Everyone in one run", text, speed_table(report.rows), plots=speed_plots(report.rows))


def _gpu_sections(report: SuiteReport) -> list[Section]:
    """Return the sections; none on a processor."""
    if not report.gpu_states:
        return []
    text = (
        "Device time is measured by CUDA events, GPU memory to GPU memory, with runs enqueued back to back; wall time "
        "includes the copies. ONNX Runtime waits for the GPU in each run, so its device time includes the launch; its "
        f"CUDA graph reads host memory alone. p99 needs {P99_RUNS} runs. GPU memory excludes the CUDA context. The "
        "list shows the GPU before the measurement and after each part of the table."
    )
    table = make_table(GPU, (row for row in report.rows if row.wall is not None))
    states = list(dict.fromkeys(map(str, report.gpu_states)))
    layers = [_describe_layers(name, found) for name, found in report.layers.items()]
    return [
        Section("On the GPU", text, table, states),
        Section("Slowest layers of the engines", notes=layers),
    ]


def _p99(latency: Latency | None, runs: int) -> str:
    return show(latency.p99_ms if latency and runs >= P99_RUNS else None, ".2f")


def _describe_layers(name: str, found: EngineLayers | str) -> str:
    if isinstance(found, str):
        return f"{name}: {found}"
    slowest = "; ".join(f"{layer} {ms:.3f} ms" for layer, ms in found.slowest)
    return f"{name}, {found.where}, {found.total_ms:.2f} ms: {'; '.join(found.summary)}. Slowest: {slowest}"


def _fidelity_plots(report: SuiteReport) -> dict[str, str]:
    plots = {}
    for network, rows in timed_rows(report.rows).items():
        least = min((row.batch for row in rows), default=1)
        points = {
            row.contestant.key: (row.fidelity.mean, row.ratio.value)
            for row in rows
            if row.fidelity and row.ratio and row.batch == least
        }
        if points:
            across = f"mean difference from eager FP32, none at {NEVER:.0e}"
            plots[f"{network}, batch {least}"] = plot_points(points, across, "times eager PyTorch's speed")
    return plots


def _load(report: SuiteReport) -> Section:
    plots = {}
    for network, timed in timed_rows(report.rows).items():
        if loaded := [row for row in timed if row.load]:
            lines = {
                row.contestant.key: [(each.callers, each.images_per_second) for each in row.load] for row in loaded
            }
            knees = {row.contestant.key: knee(row.load) for row in loaded}
            plots[f"{network}: throughput under load, knees ringed"] = plot_lines(lines, knees, "callers", "images/s")
    sizes = {(each.height, each.width) for row in report.rows for each in row.pictures}
    height, width = middle_size(sizes or PICTURE_SIZES)
    text = (
        f"Each hands in a decoded picture of {width}×{height} and waits for its mask. The knee is the smallest number "
        "of callers that reaches 95 % of the largest throughput."
    )
    table = make_table(LOAD, ((row, each) for row in report.rows for each in row.load))
    return Section("Several callers at once", text, table, plots=plots)


def _limits(report: SuiteReport) -> Section:
    work = ", ".join(f"{network} takes {each:.1f} GFLOP an image" for network, each in report.gigaflops.items())
    text = (
        f"The peak that PyTorch reached here in a large matrix product and in a copy. In its convolutions, {work}. "
        '"Of limit" is the time that the convolutions need at this peak (per layer the longer of arithmetic and memory '
        "traffic), as a share of the median."
    )
    reached = [
        (name.upper(), f"{each.flops / 1e12:.2f}", f"{each.bytes / 1e9:.0f}") for name, each in report.ceilings.items()
    ]
    plots = bar_plots(
        report.rows,
        "share of the limit",
        "% of what the machine reached",
        "{:.0f} %",
        lambda row: None if row.limit_share is None else Ratio(*[100 * row.limit_share] * 3),
    )
    return Section("Distance to the limit", text, (("arithmetic", "TFLOP/s", "GB/s"), reached), plots=plots)


def _environment(report: SuiteReport) -> Section:
    options, noise = report.options, report.noise
    foreign = "unknown" if noise.foreign_load is None else f"{noise.foreign_load:.0%}"
    settings = (
        f"{options.threads or 'default'} threads, device {options.device}, at most {options.rounds} rounds, seed "
        f"{options.seed}; the reference varied by {noise.spread:.0%} of its median, share of the processor that other "
        f"processes took: {foreign}"
    )
    return machine_section(report.machine, settings)


def repeat_command(options: SuiteOptions) -> str:
    """The command that measures the same again."""
    words = {
        "networks": ",".join(options.networks),
        "batches": ",".join(map(str, options.batches)),
        "size": options.size,
        "contestants": ",".join(options.contestants),
        "rounds": options.rounds,
        "minutes": f"{options.minutes:g}",
        "build-minutes": f"{options.build_minutes:g}" if options.device.kind == "cuda" else None,
        "opt-level": options.opt_level,
        "threads": options.threads,
        "growth": options.growth,
        "seed": options.seed,
        "images": options.images,
        "device": options.device,
    }
    said = [(name, word) for name, word in words.items() if word not in ("", None)]
    said += [("checkpoint", path) for path in options.checkpoints]
    said += [("python", f"{name}={path}") for name, path in options.pythons.items()]
    return shlex.join(
        ["u2net", "bench", "--suite", *(part for name, word in said for part in (f"--{name}", str(word)))]
    )
