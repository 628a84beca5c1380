"""What each step of deployment costs in the task's own metrics, on photographs with masks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from u2net.export.parity.stages import Stage, claimed_preset, open_stage
from u2net.model.dataset import find_pairs
from u2net.model.evaluation import Evaluation, Predictor, score_predictor
from u2net.model.metrics import SaliencyScores
from u2net.runtime.device import Device
from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import ByteArray, FloatArray, preprocess
from u2net.runtime.presets import PRESETS, Preset

LARGEST_COST = 5e-4
"""That FP32 and FP16 files may lose in any metric, all of which go from 0 to 1."""

LEAST_PICTURES = 200
"""From which on that is demanded: one outline that is met 0.1 worse moves the mean of 200 pictures by as much."""

METRICS = tuple(each.name for each in fields(SaliencyScores) if each.name != "pictures")


@dataclass(frozen=True)
class AccuracyReport:
    """Scores of eager PyTorch and of each file made of it, on one data set."""

    dataset: str
    evaluations: tuple[Evaluation, ...]
    """Eager PyTorch first."""

    @property
    def pictures(self) -> int:
        """How many were scored."""
        return self.evaluations[0].scores.pictures

    def costs(self, evaluation: Evaluation) -> dict[str, float]:
        """By how much each metric is worse than eager PyTorch's; below 0 where it is better."""
        before, after = self.evaluations[0].scores, evaluation.scores
        return {name: (getattr(after, name) - getattr(before, name)) * (1 if name == "mae" else -1) for name in METRICS}

    @property
    def failures(self) -> tuple[str, ...]:
        """Costs above the limit, in words; none for a data set too small to tell."""
        if self.pictures < LEAST_PICTURES:
            return ()
        return tuple(
            f"{Path(evaluation.model).name} costs {cost:.5f} in {name} on {self.dataset}, at most {LARGEST_COST} may be"
            for evaluation in self.evaluations[1:]
            for name, cost in self.costs(evaluation).items()
            if not cost <= LARGEST_COST
        )


def measure_accuracy(
    checkpoint: Path,
    models: Mapping[Path, Device],
    dataset: Path,
    *,
    preset: str = "reference",
    device: Device,
    progress: Callable[[str], None] = lambda _message: None,
) -> AccuracyReport:
    """Score a checkpoint in eager PyTorch and the files made of it on ``dataset/images`` and ``dataset/masks``.

    An FP16 graph on a processor is scored as a copy that rounds to FP16 after each node: what it is on a GPU.

    Args:
        models: files, and where each runs.
        preset: contract that eager PyTorch is fed by, at the size of the first file.
        device: where eager PyTorch runs.

    Raises:
        DatasetError: the folder cannot be used.
        ArtifactError, DeviceError: a file cannot be opened or run.
    """
    pairs = find_pairs(dataset)
    stages = [open_stage(path, where, preset) for path, where in models.items()]
    contract = claimed_preset(stages[0], PRESETS[preset])
    output = stages[0].outputs[0]
    eager = open_stage(checkpoint, device)
    evaluations = []
    for stage, own in [(eager, contract), *((each, each.preset or contract) for each in stages)]:
        progress(f"scoring {Path(stage.label).name} on {len(pairs)} pictures")
        evaluations.append(score_predictor(stage.label, stage_predictor(stage, own, output), pairs))
    return AccuracyReport(dataset.name, tuple(evaluations))


def stage_predictor(stage: Stage, preset: Preset, output: str) -> Predictor:
    """A stage as what makes a mask of an image: prepared and finished as the preset says."""

    def predict(image: ByteArray) -> FloatArray:
        maps = stage.infer(preprocess(image, preset))[output]
        return postprocess(maps[0], preset, *image.shape[:2])

    return predict
