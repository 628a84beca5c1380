"""What deployment gains: latency, throughput and memory against eager PyTorch, and the report."""

from u2net.benchmarks.measure import BenchOptions, BenchReport, measure
from u2net.benchmarks.report import write_report

__all__ = ["BenchOptions", "BenchReport", "measure", "write_report"]
