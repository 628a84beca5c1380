"""Reports of a running training: rows of a log file, and calls of a callback."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.loggers.csv_logs import CSVLogger
from torch import Tensor

from u2net.model.metrics import SaliencyScores
from u2net.model.network import OUTPUT_NAMES
from u2net.model.training.state import diverged

LOG = "log"
"""Folder of the log in the output."""

LOSS_NAMES = tuple(f"loss{index}" for index in range(len(OUTPUT_NAMES)))


@dataclass(frozen=True)
class TrainStatus:
    """Activity and progress of a training, as its callback receives them."""

    activity: str
    progress: float
    """Share of the training that is done; while reading, the share of the pictures."""
    loss: float | None = None
    images_per_second: float | None = None
    waiting: float | None = None
    """Share of the time spent on getting batches: indexing, augmentation, transfer."""
    scores: SaliencyScores | None = None
    """Scores of the held-out pictures after a validation."""


StatusCallback = Callable[[TrainStatus], None]


class SpanTimer:
    """Times spans between marks, with CUDA events on a GPU, where calls return before their work is done."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._marks: list[Any] = []

    def mark(self) -> None:
        """End one span and begin the next."""
        mark: Any = torch.cuda.Event(enable_timing=True) if self._on_gpu else time.perf_counter()  # type: ignore[no-untyped-call]
        if self._on_gpu:
            mark.record()
        self._marks.append(mark)

    def read(self) -> list[float]:
        """Return the seconds of the spans since the last call; the last mark begins the next span."""
        marks, self._marks = self._marks, self._marks[-1:]
        if not self._on_gpu:
            return [end - start for start, end in pairwise(marks)]
        for mark in marks[-1:]:
            mark.synchronize()
        return [start.elapsed_time(end) / 1e3 for start, end in pairwise(marks)]

    def restart(self) -> None:
        """Drop the spans that were not read, and begin one."""
        self._marks = []
        self.mark()


class StepLog:
    """Logs losses and speed, one row for several steps, because reading a loss makes the host wait for the GPU."""

    def __init__(self, output: Path, batch: int, report: StatusCallback) -> None:
        self._output, self._batch, self._report = output, batch, report
        self._logger = CSVLogger(output, name=LOG)
        self._terms: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._terms)

    def add(self, terms: Tensor) -> None:
        """Add the losses of a step: all seven, or those of the coarser maps."""
        self._terms.append(terms)

    def flush(self, step: int, progress: float, learning_rate: float, spans: list[float]) -> None:
        """Write the means over the steps since the last row.

        The spans are the seconds of getting a batch and of learning from it, alternating.
        """
        if not self._terms:
            return
        terms, self._terms = torch.stack(self._terms).cpu(), []
        first = step - len(terms)
        for index, row in enumerate(terms):
            if not row.isfinite().all():
                raise diverged(f"the loss became {row.sum().item()} at step {first + index}", self._output)
        total = sum(spans)
        means = terms.mean(0)
        values = {
            "loss": float(means.sum()),
            **dict(zip(LOSS_NAMES[-len(means) :], means.tolist(), strict=True)),
            "progress": progress,
            "learning_rate": learning_rate,
            "images_per_second": len(terms) * self._batch / total,
            "waiting": sum(spans[::2]) / total,
        }
        self._logger.log_metrics(values, step)
        self._logger.save()
        self._report(TrainStatus("training", progress, values["loss"], values["images_per_second"], values["waiting"]))

    def add_scores(self, step: int, scores: SaliencyScores) -> None:
        values = {f"val_{name}": value for name, value in asdict(scores).items() if name != "pictures"}
        self._logger.log_metrics(values, step)
        self._logger.save()
