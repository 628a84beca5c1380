"""The sections of the suite's page that are about a GPU."""

from u2net.benchmarks.page import NONE, Section
from u2net.benchmarks.statistics import Latency
from u2net.benchmarks.suite.gpu import EngineLayers
from u2net.benchmarks.suite.rows import P99_RUNS, Row
from u2net.benchmarks.suite.suite import SuiteReport

GPU_HEADER = (
    "contestant",
    "network",
    "batch",
    "device ms",
    "p99 ms",
    "vs eager",
    "wall ms",
    "p99 ms",
    "GPU MB",
    "why no device time",
)


def gpu_sections(report: SuiteReport) -> list[Section]:
    """Return the sections; none on a processor."""
    if not report.gpu_states:
        return []
    text = (
        "Device time is measured by CUDA events, GPU memory to GPU memory, with runs enqueued back to back; wall time "
        f"includes the copies. p99 needs {P99_RUNS} runs. GPU memory excludes the CUDA context. The list shows the "
        "GPU before the measurement and after each part of the table."
    )
    rows = [_cells(row) for row in report.rows if row.wall is not None]
    states = list(dict.fromkeys(map(str, report.gpu_states)))
    layers = [_describe_layers(name, found) for name, found in report.layers.items()]
    return [
        Section("On the GPU", text, (GPU_HEADER, rows), states),
        Section("Slowest layers of the engines", notes=layers),
    ]


def _cells(row: Row) -> tuple[str, ...]:
    ratio, memory = row.device_ratio, row.gpu_memory_mb
    return (
        row.contestant.title,
        row.network,
        str(row.batch),
        *_times(row.device, row.runs),
        NONE if ratio is None else str(ratio),
        *_times(row.wall, row.runs),
        NONE if memory is None else f"{memory:.0f}",
        row.device_note,
    )


def _times(latency: Latency | None, runs: int) -> tuple[str, str]:
    if latency is None:
        return NONE, NONE
    return f"{latency.median_ms:.2f}", f"{latency.p99_ms:.2f}" if runs >= P99_RUNS else NONE


def _describe_layers(name: str, found: EngineLayers | str) -> str:
    if isinstance(found, str):
        return f"{name}: {found}"
    slowest = "; ".join(f"{layer} {ms:.3f} ms" for layer, ms in found.slowest)
    return f"{name}, {found.where}, {found.total_ms:.2f} ms: {'; '.join(found.summary)}. Slowest: {slowest}"
