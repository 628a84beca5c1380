"""The training loop: steps, log, validations and saves until the budget is used up or a pause is due."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from u2net.model.metrics import SaliencyMeter, SaliencyScores
from u2net.model.placing import full_fp32
from u2net.model.training.batches import Batches, normalize_batch
from u2net.model.training.decoded_pairs import DecodedPairs
from u2net.model.training.learner import Learner
from u2net.model.training.recipes import Phase
from u2net.model.training.state import LAST, diverged, save_training
from u2net.model.training.step_log import SpanTimer, StatusCallback, StepLog, TrainStatus
from u2net.model.training.train_options import TrainOptions

_logger = logging.getLogger("u2net.training")

LOG_EVERY = 10
"""Steps per row of the log."""
SAVE_EVERY = 300.0
"""Seconds between saves."""
VALIDATION_BATCH = 8
VALIDATIONS = 5
"""Number of validations in a training, the last at its end."""


@dataclass(frozen=True)
class TrainResult:
    """Files and scores of one run of a training."""

    weights: Path
    """Resulting weights, safetensors in the published layout."""
    checkpoint: Path
    """Checkpoint with the state of the optimizer, for ``resume``."""
    progress: float
    """Share of the training that is done; below 1 after a pause."""
    scores: SaliencyScores | None
    """Scores of the final weights on the held-out pairs; None after a pause."""
    interrupted: bool = False
    """True if Ctrl-C or SIGTERM paused it."""
    is_main_process: bool = True
    """True in the first process of a training, the one that reports."""


@dataclass
class TrainingRun:
    """One run of a training on one of its devices."""

    learner: Learner
    options: TrainOptions
    output: Path
    report: StatusCallback
    training: DecodedPairs
    held_out: DecodedPairs
    data: str
    """Fingerprint of the pictures."""
    called: float
    """Time on the monotonic clock at which the run began."""
    signals: list[int]
    """Signals received so far; any of them pauses the training."""
    step: int
    """Number of steps so far, earlier runs included."""
    seconds: float
    """Seconds of training so far, earlier runs included."""

    def __post_init__(self) -> None:
        fabric, recipe = self.learner.fabric, self.options.recipe
        rank, world = fabric.global_rank, fabric.world_size
        self._batches = Batches(self.training, recipe, self.options.seed, fabric.device, rank, world)
        self._timer = SpanTimer(fabric.device)
        self._log = StepLog(self.output, recipe.batch, self.report)
        self._saved, self._began, self._stopping = self.seconds, 0.0, False

    def go(self) -> TrainResult:
        """Train until the budget is used up, the pause is due or a signal came; at least one step if any is left."""
        if self._progress == 1 and self.learner.fabric.is_global_zero:
            _logger.warning("nothing is left to train; more --minutes or --epochs go on")
        if self.options.recipe.compiled and self._progress < 1:
            self._compile()
        self._began = time.monotonic() - self.seconds
        self._timer.restart()
        while self._progress < 1 and not self._stopping:
            self._learn()
        self._flush()
        scores = self._validate() if self._progress == 1 else None
        self._save()  # after the validation, because a network that gives NaN must not replace the last good one
        weights, last = self.output / self.options.weights_name, self.output / LAST
        interrupted = bool(self.signals) and scores is None
        return TrainResult(weights, last, self._progress, scores, interrupted, self.learner.fabric.is_global_zero)

    def _compile(self) -> None:
        self.report(TrainStatus("compiling", self._progress))
        for phase in self.options.recipe.phases_from(self._progress):
            self._enter(phase)
            self.learner.rehearse(self._batches.make(self.step, phase.crop))

    def _learn(self) -> None:
        recipe, before = self.options.recipe, self._progress
        phase = recipe.phase_at(before)
        self._enter(phase)
        batch = self._batches.make(self.step, phase.crop)
        self._timer.mark()
        self._log.add(self.learner.step(batch, recipe.learning_rate_at(before)))
        self._timer.mark()
        # All processes take the values of the first, so that they save, validate and stop at the same step.
        seconds = time.monotonic() - self._began
        self.seconds, self._stopping = self.learner.fabric.broadcast((seconds, self._pauses()))
        self.step += 1
        if len(self._log) == LOG_EVERY:
            self._flush()
        if self._stopping:
            return  # without a validation, because somebody is waiting for the pause
        if self.seconds - self._saved > SAVE_EVERY:
            self._flush()
            self._save()
        if int(before * VALIDATIONS) < int(self._progress * VALIDATIONS) < VALIDATIONS:
            self._flush()
            self._validate()

    @property
    def _progress(self) -> float:
        return self.options.progress(self.step, self.seconds, self._batches.steps_per_epoch)

    def _enter(self, phase: Phase) -> None:
        """Freeze the stages that the phase freezes; keep the compiled network if they are the same as before."""
        if phase.frozen != self.learner.frozen:
            self._flush()  # because all steps of a row have the same number of losses
            self.learner.freeze(phase.frozen)

    def _pauses(self) -> bool:
        pause = self.options.pause
        return bool(self.signals) or (pause is not None and time.monotonic() - self.called >= 60 * pause)

    def _flush(self) -> None:
        rate = self.options.recipe.learning_rate_at(self._progress)
        self._log.flush(self.step, self._progress, rate, self._timer.read())

    def _save(self) -> None:
        self._saved = self.seconds
        if self.learner.fabric.is_global_zero:
            save_training(self.output, self.learner, self.options, data=self.data, step=self.step, seconds=self.seconds)
        self.learner.fabric.barrier()
        self._timer.restart()

    def _validate(self) -> SaliencyScores | None:
        """Score the held-out pictures; the time this takes does not count as training."""
        scores, start = None, time.monotonic()
        if self.learner.fabric.is_global_zero:
            self.report(TrainStatus("validating", self._progress))
            scores = self._score()
            self._log.add_scores(self.step, scores)
            self.report(TrainStatus("validated", self._progress, scores=scores))
        scores, self._stopping = self.learner.fabric.broadcast((scores, self._pauses()))
        self._began += time.monotonic() - start
        self._timer.restart()
        return scores

    def _score(self) -> SaliencyScores:
        """Score the result so far on the held-out pictures, whole and in FP32; its training mode does not change."""
        network, meter = self.learner.best, SaliencyMeter()
        training = network.training
        network.eval()
        for indices in torch.arange(len(self.held_out)).split(VALIDATION_BATCH):  # type: ignore[no-untyped-call]
            images, masks = self.held_out.take(indices, self.learner.fabric.device)
            with torch.inference_mode(), full_fp32():
                maps = network(normalize_batch(images)).d0[:, 0].cpu().numpy()
            if not np.isfinite(maps).all():
                raise diverged(
                    f"after step {self.step} the network gives NaN or Inf: the training diverged", self.output
                )
            truths = (masks[:, 0] * 255).round().to(torch.uint8).cpu().numpy()
            for one_map, truth in zip(maps, truths, strict=True):
                meter.add(one_map, truth)
        network.train(training)
        return meter.scores()
