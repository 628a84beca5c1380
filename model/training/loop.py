"""The training itself: from a folder of photographs with masks to weights."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger

from u2net.model.checkpoint import load_checkpoint, save_weights
from u2net.model.dataset import Pair, find_pairs, hold_out
from u2net.model.metrics import SaliencyScores
from u2net.model.network import VARIANTS, U2Net
from u2net.model.training.batches import Batches
from u2net.model.training.learner import Learner
from u2net.model.training.options import TrainOptions
from u2net.model.training.pictures import Pictures, decode_pictures
from u2net.model.training.progress import Clock, Report, Status, StepLog
from u2net.model.training.schedule import learning_rate
from u2net.model.training.state import LAST, Reached, describe_last_good, read_state, restore_state, save_state
from u2net.model.training.validation import validate
from u2net.runtime.errors import InputError, TrainingError
from u2net.runtime.files import make_folder

LOG_EVERY = 10
"""Steps."""
SAVE_EVERY = 300.0
"""Seconds."""
VALIDATIONS = 5
"""Times in a training, the last at its end."""


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind."""

    weights: Path
    """Weights so far, safetensors in the published layout."""
    checkpoint: Path
    """With the optimizer, for ``resume``."""
    progress: float
    """Share of the training that is done; below 1 after a pause."""
    scores: SaliencyScores | None
    """Of the final weights on the held-out pairs; None after a pause."""
    first: bool = True
    """Whether this is the first of the processes that trained, the one to tell of it."""


def train(
    folder: Path, output: Path, options: TrainOptions | None = None, report: Report = lambda _status: None
) -> TrainResult:
    """Train on ``folder/images`` and ``folder/masks``; write weights, checkpoints and a log into ``output``.

    Raises:
        DatasetError: the folder cannot be used.
        CheckpointError: ``init`` or the checkpoint to resume cannot be loaded.
        InputError: an option is out of range, or there is nothing to resume.
        TrainingError: the loss became NaN or Inf, or the memory is too small for two pictures.
    """
    options = options or TrainOptions()
    options.check()
    state = read_state(output / LAST, options) if options.resume else None
    training, held_out = _split(find_pairs(folder), options)
    network = _start_network(options)
    make_folder(output)
    fabric = launch_fabric(options)
    learner = Learner(fabric, network, options.recipe)
    reached = Reached() if state is None else restore_state(state, learner)
    size = options.recipe.size
    run = Run(
        fabric,
        learner,
        options,
        output=output,
        report=report,
        pictures=decode_pictures(training, size, lambda share: report(Status("reading", share))),
        held_out=decode_pictures(held_out, size),
        reached=reached,
    )
    return run.go()


class Run:
    """One run of a training, on one of its devices."""

    def __init__(
        self,
        fabric: Fabric,
        learner: Learner,
        options: TrainOptions,
        *,
        output: Path,
        report: Report,
        pictures: Pictures,
        held_out: Pictures,
        reached: Reached,
    ) -> None:
        self._fabric, self._learner, self._options, self._output = fabric, learner, options, output
        self._report, self._held_out = report, held_out
        device = fabric.device
        near = pictures.near(device)
        self._batches = Batches(near, options.recipe, options.seed, device, fabric.global_rank, fabric.world_size)
        self._budget = options.budget(self._batches.steps_per_epoch)
        self._clock = Clock(device)
        self._log = StepLog(CSVLogger(output, name="log"), options.recipe.batch, report)
        self._earlier, self._began = reached.seconds, time.monotonic()
        self._step, self._saved = reached.step, 0.0
        self._progress = self._measure()

    def go(self) -> TrainResult:
        """Train to the end of the budget, or to the pause; at least one step, where any is left."""
        self._clock.restart()
        while self._progress < 1:
            self._learn()
            if self._pauses():
                break
        self._flush()
        self._save()
        scores = self._validate() if self._progress == 1 else None
        return self._finish(scores)

    def _learn(self) -> None:
        recipe, before = self._options.recipe, self._progress
        batch = self._batches.make(self._step, recipe.crop_at(before))
        self._clock.mark()
        self._log.add(self._learner.step(batch, learning_rate(recipe, before)))
        self._clock.mark()
        self._step += 1
        self._progress = self._measure()
        if len(self._log) == LOG_EVERY:
            self._flush()
        if self._here() - self._saved > SAVE_EVERY:
            self._flush()
            self._save()
        if int(before * VALIDATIONS) < int(self._progress * VALIDATIONS) < VALIDATIONS:
            self._flush()
            self._validate()

    def _here(self) -> float:
        """Seconds of this run."""
        return time.monotonic() - self._began

    def _measure(self) -> float:
        """Share of the training that is done, as the first process's clock has it: all must stop at one step."""
        return self._agree(self._budget.progress(self._step, self._earlier + self._here()))

    def _pauses(self) -> bool:
        pause = self._options.pause
        return pause is not None and self._agree(self._here()) >= 60 * pause

    def _agree(self, value: float) -> float:
        return self._fabric.broadcast(value) if self._fabric.world_size > 1 else value

    def _flush(self) -> None:
        rate = learning_rate(self._options.recipe, self._progress)
        try:
            self._log.flush(self._step, self._progress, rate, self._clock.read())
        except TrainingError as error:
            raise TrainingError(f"{error}; {describe_last_good(self._output / LAST)}") from error

    def _save(self) -> None:
        self._saved = self._here()
        if self._fabric.is_global_zero:
            reached = Reached(self._step, self._earlier + self._here())
            save_state(self._output / LAST, self._learner, reached, self._options)
        self._fabric.barrier()

    def _validate(self) -> SaliencyScores | None:
        scores = None
        if self._fabric.is_global_zero:
            self._report(Status("validating", self._progress))
            scores = validate(self._learner.best, self._held_out, self._fabric.device)
            self._log.validated(self._step, scores)
        scores = self._fabric.broadcast(scores)
        self._clock.restart()
        return scores

    def _finish(self, scores: SaliencyScores | None) -> TrainResult:
        weights = self._output / f"{self._options.variant}.safetensors"
        if self._fabric.is_global_zero:
            save_weights(self._learner.best, weights)
        self._fabric.barrier()
        return TrainResult(weights, self._output / LAST, self._progress, scores, self._fabric.is_global_zero)


def launch_fabric(options: TrainOptions) -> Fabric:
    """The devices of a training: those asked for, or this process's of those that ``torchrun`` started."""
    distributed = options.devices > 1 or "TORCHELASTIC_RUN_ID" in os.environ
    fabric = Fabric(
        accelerator=options.device,
        devices=options.devices,
        strategy="ddp" if distributed else "auto",
        precision=options.recipe.precision,
    )
    fabric.launch()
    return fabric


def _split(pairs: list[Pair], options: TrainOptions) -> tuple[list[Pair], list[Pair]]:
    training, held_out = hold_out(pairs, options.val_fraction)
    if len(training) < options.recipe.batch:
        raise InputError(
            f"{len(pairs)} pairs less {len(held_out)} held out for validation do not fill one batch of "
            f"{options.recipe.batch}; add pictures or lower the batch"
        )
    return training, held_out


def _start_network(options: TrainOptions) -> U2Net:
    torch.manual_seed(options.seed)
    if options.init is None:
        return VARIANTS[options.variant]()
    network = load_checkpoint(options.init).network
    if network.variant != options.variant or network.out_channels != 1:
        raise InputError(
            f"{options.init} holds {network.variant} with {network.out_channels} output channels; "
            f"training is for {options.variant} with one"
        )
    return network
