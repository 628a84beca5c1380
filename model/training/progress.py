"""What a training tells of itself while it runs: the log file, and whoever listens."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from lightning_fabric.loggers.csv_logs import CSVLogger
from torch import Tensor

from u2net.model.metrics import SaliencyScores
from u2net.model.network import OUTPUT_NAMES
from u2net.runtime.errors import TrainingError

LOSS_NAMES = tuple(f"loss{index}" for index in range(len(OUTPUT_NAMES)))


@dataclass(frozen=True)
class Status:
    """The state of a training."""

    doing: str
    progress: float
    """Share of the training, or of what comes before it, that is done."""
    loss: float | None = None
    images_per_second: float | None = None
    waiting: float | None = None
    """Share of the time that went into getting batches: indexing, augmentation, transfer."""
    scores: SaliencyScores | None = None
    """Of the held-out pictures, once they were scored."""


Report = Callable[[Status], None]


class Clock:
    """Spans between marks, on the GPU's own timeline where there is one: calls return before their work is done."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._marks: list[torch.cuda.Event | float] = []

    def mark(self) -> None:
        """End one span and begin the next."""
        if not self._on_gpu:
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._marks.append(event)

    def read(self) -> list[float]:
        """Seconds of the spans since the last reading; the last mark begins the next."""
        marks, self._marks = self._marks, self._marks[-1:]
        if self._on_gpu and marks:
            marks[-1].synchronize()  # type: ignore[union-attr]
        return [_seconds(start, end) for start, end in pairwise(marks)]

    def restart(self) -> None:
        """Forget what was not read, and begin a span."""
        self._marks = []
        self.mark()


def _seconds(start: torch.cuda.Event | float, end: torch.cuda.Event | float) -> float:
    if isinstance(start, float) or isinstance(end, float):
        return float(end) - float(start)  # type: ignore[arg-type]
    return float(start.elapsed_time(end)) / 1e3


class StepLog:
    """Losses and speed, a row for every few steps: reading a loss makes the host wait for the GPU."""

    def __init__(self, logger: CSVLogger, batch: int, report: Report) -> None:
        self._logger, self._batch, self._report = logger, batch, report
        self._terms: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._terms)

    def add(self, terms: Tensor) -> None:
        """Take the losses of a step: all seven, or those of the coarser maps."""
        self._terms.append(terms)

    def flush(self, step: int, progress: float, learning_rate: float, spans: list[float]) -> None:
        """Write the means since the last row.

        Args:
            step: number of steps done.
            spans: seconds of getting a batch and of learning from it, in turns.

        Raises:
            TrainingError: a loss was NaN or Inf; without its remedy, which :func:`train` adds.
        """
        if not self._terms:
            return
        terms, self._terms = torch.stack(self._terms).cpu(), []
        first = step - len(terms)
        for index, row in enumerate(terms):
            if not row.isfinite().all():
                raise TrainingError(f"the loss became {row.sum().item()} at step {first + index}")
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
        self._report(Status("training", progress, values["loss"], values["images_per_second"], values["waiting"]))

    def validated(self, step: int, scores: SaliencyScores) -> None:
        """Write the scores on the held-out pictures."""
        values = {f"val_{name}": value for name, value in asdict(scores).items() if name != "pictures"}
        self._logger.log_metrics(values, step)
        self._logger.save()
