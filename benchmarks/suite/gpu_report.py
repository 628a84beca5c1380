"""The sections of the suite's page that are about a GPU."""

from collections.abc import Callable, Mapping

from u2net.benchmarks.page import Section, make_table, show
from u2net.benchmarks.statistics import Latency
from u2net.benchmarks.suite.gpu import EngineLayers
from u2net.benchmarks.suite.rows import P99_RUNS, Row
from u2net.benchmarks.suite.suite import SuiteReport

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


def gpu_sections(report: SuiteReport) -> list[Section]:
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
