"""What deployment gains: latency, throughput and memory against eager PyTorch, the report, and the main job."""

from u2net.benchmarks.deployment import Deployment, deploy_checkpoint
from u2net.benchmarks.measure import BenchOptions, BenchReport, measure_models

__all__ = ["BenchOptions", "BenchReport", "Deployment", "deploy_checkpoint", "measure_models"]
