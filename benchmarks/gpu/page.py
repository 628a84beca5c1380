"""The page of a GPU check, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from u2net.benchmarks.gpu.ceilings import ceilings, find_peak
from u2net.benchmarks.gpu.figures import Parity, Row, Timing
from u2net.benchmarks.gpu.report import GpuReport
from u2net.benchmarks.gpu.suite import SuiteResult
from u2net.benchmarks.gpu.targets import Target
from u2net.benchmarks.page import NONE, table

METHOD = (
    "**Device** is the time between CUDA events, float32 in GPU memory to float32 d0 in GPU memory, runs enqueued one "
    "after the other. **Wall** is float32 in host memory to d0 in host memory, one run at a time, through pinned "
    "memory for PyTorch as for the runtime. Times are of whole batches. Ratios are of medians of turns, to eager FP32 "
    "with PyTorch's defaults (TF32 in convolutions), with a 95 % bootstrap interval. FP16 rows of PyTorch let cuDNN "
    "try its algorithms. Memory is the GPU memory that loading and the first runs took, without the CUDA context; an "
    "engine holds room for its largest batch at every batch."
)


def gpu_markdown(report: GpuReport) -> str:
    """The report as a page."""
    title = report.gpu or f"Dry run on a processor, {report.machine.processor}"
    parts = [f"# {title}, {report.date}\n"]
    if not report.finished:
        parts.append("**Not finished**: this is what was found so far.\n")
    parts += [_method(report), "## Targets\n", _targets(report.targets)]
    for network in dict.fromkeys(row.network for row in report.rows):
        parts += _network(report, network)
    parts += ["## What did not run, in its own words\n", _errors(report.rows)]
    parts += ["## Tests marked gpu\n", _tests(report.tests)]
    parts += ["## Layers\n", _layers(report.layers)]
    return "\n".join(part for part in parts if part)


def _network(report: GpuReport, network: str) -> list[str]:
    own = [row for row in report.rows if row.network == network]
    ran = [row for row in own if row.open_seconds is not None]
    return [
        f"## {network.upper()}\n",
        f"Weights: {report.weights.get(network, 'unknown')}.\n",
        _ceilings(report, network),
        table(SPEED_HEADER, [speed_cells(row) for row in own]),
        table(PARITY_HEADER, [parity_cells(row) for row in ran]) if ran else "",
        _parity_notes(own),
    ]


def _method(report: GpuReport) -> str:
    options, machine = report.options, report.machine
    batches = ", ".join(map(str, options.batches))
    driver = f"; {report.driver}" if report.driver else ""
    lines = [
        f"`make gpu-check`: {', '.join(options.networks)} at {options.size}×{options.size}, batch {batches}, "
        f"everybody in turns within one run. {METHOD}\n",
        f"Parity is of d0 against eager FP32 with TF32 off, on {report.pictures}; judged on the {report.judged}.\n",
        f"{machine.processor}, {machine.cores} cores, {machine.system}{driver}.\n",
        "".join(f"- {_python(where, facts)}\n" for where, facts in report.pythons.items())
        + "".join(f"- {note}\n" for note in report.notes),
    ]
    return "\n".join(lines)


def _python(where: str, facts: Mapping[str, Any]) -> str:
    if "error" in facts:
        return f"{where}: {facts['error']}"
    named = {**facts["versions"], **facts["flavours"]}
    packages = ", ".join(f"{name} {number}" for name, number in named.items())
    broken = "".join(f"; {name}: {why}" for name, why in facts["broken"].items())
    return f"{where}: Python {facts['python']}, {packages}{broken}"


def _targets(targets: Sequence[Target]) -> str:
    return table(("target", "", "found"), [(each.what, f"**{each.verdict}**", each.found) for each in targets])


def _ceilings(report: GpuReport, network: str) -> str:
    peak = find_peak(report.gpu)
    if peak is None:
        return ""
    arithmetic, traffic = ceilings(network, peak)
    return (
        f"Ceilings in FP16 at 320×320: {arithmetic:.0f} images/s by arithmetic ({peak.teraflops:.0f} TFLOP/s), "
        f"{traffic:.0f} images/s by the convolutions' traffic ({peak.terabytes} TB/s).\n"
    )


SPEED_HEADER = (
    *("contestant", "batch", "device p50 ms", "p99 ms", "images/s", "vs eager FP32"),
    *("wall p50 ms", "p99 ms", "images/s", "vs eager FP32", "memory MB"),
)


def speed_cells(row: Row) -> tuple[str, ...]:
    """A row's times as text, in the order of :data:`SPEED_HEADER`."""
    memory = NONE if row.memory_mb is None else f"{row.memory_mb:.0f}"
    if row.device is None and row.wall is None:
        return (row.title, str(row.batch), "did not run", *[NONE] * (len(SPEED_HEADER) - 3))
    return (row.title, str(row.batch), *_timing_cells(row.device), *_timing_cells(row.wall), memory)


def _timing_cells(timing: Timing | None) -> tuple[str, ...]:
    if timing is None:
        return ("not measured", NONE, NONE, NONE)
    ratio = timing.ratio
    return (
        f"{timing.latency.median_ms:.3f}",
        f"{timing.latency.p99_ms:.3f}",
        f"{timing.images_per_second:.1f}",
        NONE if ratio is None else f"{ratio.value:.2f}× ({ratio.low:.2f}–{ratio.high:.2f})",
    )


PARITY_HEADER = (
    *("contestant", "batch", "IoU", "mean Δ", "largest Δ", "IoU on scenes", "mean Δ on scenes"),
    *("of arithmetic", "of traffic", "opened in s"),
)


def parity_cells(row: Row) -> tuple[str, ...]:
    """A row's parity and what else is known, as text, in the order of :data:`PARITY_HEADER`."""
    by_name = {parity.pictures: parity for parity in row.parity}
    photographs, scenes = by_name.get("photographs"), by_name.get("scenes")
    share = row.share
    return (
        row.title,
        str(row.batch),
        *_parity_texts(photographs),
        *_parity_texts(scenes)[:2],
        NONE if share is None else f"{share.arithmetic:.1%}",
        NONE if share is None else f"{share.traffic:.1%}",
        NONE if row.open_seconds is None else f"{row.open_seconds:.1f}",
    )


def _parity_texts(parity: Parity | None) -> tuple[str, str, str]:
    if parity is None:
        return (NONE, NONE, NONE)
    return (f"{parity.iou:.6f}", f"{parity.mean:.1e}", f"{parity.largest:.1e}")


def _parity_notes(rows: Sequence[Row]) -> str:
    notes = dict.fromkeys(row.parity_note for row in rows if row.parity_note)
    return "".join(f"Parity: {note}.\n" for note in notes)


def _errors(rows: Sequence[Row]) -> str:
    """Each error and warning once, with where it came up."""
    said: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for words in (row.error, *(f"warned: {warning}" for warning in row.warnings)):
            if words:
                said.setdefault((row.title, words), []).append(f"{row.network} at batch {row.batch}")
    if not said:
        return "Everybody ran.\n"
    return "\n".join(
        f"- **{title}** ({', '.join(where)}):\n\n{_quoted(words)}" for (title, words), where in said.items()
    )


def _quoted(words: str) -> str:
    """An indented block, as it is in a list."""
    return "".join(f"      {line}\n" for line in words.splitlines())


def _tests(results: Sequence[SuiteResult]) -> str:
    if not results:
        return "Not asked for.\n"
    lines = []
    for each in results:
        counts = f"{each.passed} passed, {each.failed} failed, {each.skipped} skipped"
        lines.append(f"- {each.where}: {counts}{f'; {each.note}' if each.note else ''}\n")
        lines += [f"  - failed:\n\n{_quoted(problem)}\n" for problem in each.problems]
        lines += [f"  - skipped: {reason}\n" for reason in each.reasons]
    return "".join(lines)


def _layers(layers: Mapping[str, Mapping[str, Any]]) -> str:
    if not layers:
        return "No engine was there to look into.\n"
    parts = []
    for name, found in layers.items():
        if "error" in found:
            parts.append(f"{name}: {found['error']}\n")
            continue
        lines = "".join(f"- {line}\n" for line in found["summary"])
        slowest: list[tuple[str, ...]] = [(each["layer"], f"{each['ms']:.4f}") for each in found["slowest"]]
        parts.append(f"### {name}\n\n{found['where']}; all layers {found['total_ms']:.3f} ms.\n\n{lines}")
        parts.append(table(("slowest layers", "ms"), slowest))
    return "\n".join(parts)
