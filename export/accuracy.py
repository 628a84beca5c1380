"""What each step of deployment costs in the metrics of the task, on photographs with masks."""

from dataclasses import dataclass
from pathlib import Path

from u2net.model.evaluation import Evaluation

LARGEST_COST = 5e-4
"""Largest loss allowed to FP32 and FP16 files in any metric; all metrics range from 0 to 1."""

LARGEST_INT8_COST = 5e-3

LEAST_PICTURES = 200
"""Smallest data set on which the limit applies: a picture that scores 0.1 worse moves the mean of 200 by the limit."""

METRICS = {
    "max_f": "max F",
    "mean_f": "mean F",
    "weighted_f": "weighted F",
    "s_measure": "S",
    "e_measure": "E",
    "mae": "MAE",
    "iou": "IoU",
    "boundary_f": "boundary F",
}
"""Titles of the metrics by name, in the order of the tables."""


@dataclass(frozen=True)
class AccuracyReport:
    """Scores of eager PyTorch and of each file made from it, on one data set."""

    dataset: str
    evaluations: tuple[Evaluation, ...]
    """Eager PyTorch first."""

    @property
    def pictures(self) -> int:
        return self.evaluations[0].scores.pictures

    def costs(self, evaluation: Evaluation) -> dict[str, float]:
        """Return the loss of each metric against eager PyTorch; negative if the metric is better."""
        before, after = self.evaluations[0].scores, evaluation.scores
        return {name: (getattr(after, name) - getattr(before, name)) * (1 if name == "mae" else -1) for name in METRICS}

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence for each cost above the limit; empty for a data set too small to judge by."""
        if self.pictures < LEAST_PICTURES:
            return ()
        return tuple(
            f"{Path(evaluation.model).name} costs {cost:.5f} in {name} on {self.dataset}; the limit is {limit}"
            for evaluation in self.evaluations[1:]
            for limit in [LARGEST_INT8_COST if evaluation.precision == "int8" else LARGEST_COST]
            for name, cost in self.costs(evaluation).items()
            if not cost <= limit
        )
