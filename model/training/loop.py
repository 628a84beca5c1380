"""The training itself: from a folder of photographs with masks to weights."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger
from safetensors import SafetensorError

from u2net.model.checkpoint import load_checkpoint, save_weights
from u2net.model.dataset import Pair, find_pairs, hold_out
from u2net.model.metrics import SaliencyScores
from u2net.model.network import VARIANTS, U2Net
from u2net.model.training.batches import Batches
from u2net.model.training.launching import launch_fabric
from u2net.model.training.learner import Learner
from u2net.model.training.options import TrainOptions
from u2net.model.training.pictures import Pictures, decode_pictures
from u2net.model.training.progress import Clock, Report, Status, StepLog
from u2net.model.training.recipes import Stage
from u2net.model.training.schedule import learning_rate
from u2net.model.training.state import (
    LAST,
    Reached,
    describe_last_good,
    fingerprint,
    read_state,
    restore_state,
    save_state,
    with_budget,
)
from u2net.model.training.stopping import Stop, stop_on_signals
from u2net.model.training.validation import validate
from u2net.runtime.errors import InputError, TrainingError
from u2net.runtime.files import make_folder

LOG = "log"
"""Folder of the log, in the output."""
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

    Ctrl-C or SIGTERM pauses it after the step it is at.

    Raises:
        DatasetError: the folder cannot be used.
        CheckpointError: ``init`` or the checkpoint to resume cannot be loaded.
        DeviceError: the devices are not there.
        InputError: an option is out of range, there is nothing to resume, or ``output`` cannot be written or holds
            the checkpoint of another training.
        TrainingError: the loss or the network's maps became NaN or Inf, the memory is too small for two pictures, or
            the disk is full.
    """
    called = time.monotonic()
    options = options or TrainOptions()
    options.check()
    pairs = find_pairs(folder)
    state = read_state(output / LAST, options, pairs) if options.resume else None
    if state is not None:
        options = with_budget(options, state)
    training, held_out = _split(pairs, options)
    network = _start_network(options)
    fabric = launch_fabric(options)
    _check_output(output, options)
    tell = report if fabric.is_global_zero else lambda _status: None
    learner = Learner(fabric, network, options.recipe)
    reached = Reached() if state is None else restore_state(state, learner)
    size = options.recipe.size
    pictures = decode_pictures(training, size, lambda share: tell(Status("reading", share)))
    pictures.check()
    pictures = pictures.near(fabric.device)
    with stop_on_signals() as stop:
        run = Run(
            fabric,
            learner,
            options,
            output=output,
            report=tell,
            pictures=pictures,
            held_out=decode_pictures(held_out if fabric.is_global_zero else [], size),
            fingerprint=fingerprint(pairs),
            called=called,
            stop=stop,
        )
        return run.go(reached)


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
        fingerprint: str,
        called: float,
        stop: Stop,
    ) -> None:
        self._fabric, self._learner, self._options, self._output = fabric, learner, options, output
        self._report, self._held_out, self._fingerprint = report, held_out, fingerprint
        self._called, self._stop = called, stop
        device = fabric.device
        self._batches = Batches(pictures, options.recipe, options.seed, device, fabric.global_rank, fabric.world_size)
        self._budget = options.budget(self._batches.steps_per_epoch)
        self._clock = Clock(device)
        self._log = StepLog(CSVLogger(output, name=LOG), options.recipe.batch, report)
        self._reached, self._progress, self._saved = Reached(), 0.0, 0.0
        self._began, self._stopping = 0.0, False

    def go(self, reached: Reached) -> TrainResult:
        """Train from there to the end of the budget, to the pause or a signal; at least one step, where any is left."""
        self._reached, self._saved = reached, reached.seconds
        self._progress = self._budget.progress(reached.step, reached.seconds)
        if self._options.recipe.compiled and self._progress < 1:
            self._compile()
        self._began = time.monotonic() - reached.seconds
        self._clock.restart()
        while self._progress < 1 and not self._stopping:
            self._learn()
        self._flush()
        scores = self._validate() if self._progress == 1 else None
        self._save()  # after that: a network that gives NaN may not take the place of the last good one
        return self._finish(scores)

    def _compile(self) -> None:
        self._report(Status("compiling", self._progress))
        for stage in self._options.recipe.stages_from(self._progress):
            self._enter(stage)
            self._learner.rehearse(self._batches.make(self._reached.step, stage.crop))

    def _learn(self) -> None:
        recipe, before = self._options.recipe, self._progress
        step, stage = self._reached.step, recipe.stage_at(before)
        self._enter(stage)
        batch = self._batches.make(step, stage.crop)
        self._clock.mark()
        self._log.add(self._learner.step(batch, learning_rate(recipe, before)))
        self._clock.mark()
        seconds, self._stopping = self._agree(time.monotonic() - self._began, self._pauses())
        self._reached = Reached(step + 1, seconds)
        self._progress = self._budget.progress(step + 1, seconds)
        if len(self._log) == LOG_EVERY:
            self._flush()
        if self._stopping:
            return  # who asked for the stop may not wait for a validation
        if seconds - self._saved > SAVE_EVERY:
            self._flush()
            self._save()
        if int(before * VALIDATIONS) < int(self._progress * VALIDATIONS) < VALIDATIONS:
            self._flush()
            self._validate()

    def _enter(self, stage: Stage) -> None:
        """Freeze what the stage freezes; where nothing changes, what was compiled is kept."""
        if stage.frozen != self._learner.frozen:
            self._flush()  # a row is of one number of losses
            self._learner.freeze(stage.frozen)

    def _pauses(self) -> bool:
        pause = self._options.pause
        return bool(self._stop) or (pause is not None and time.monotonic() - self._called >= 60 * pause)

    def _agree(self, seconds: float, stopping: bool) -> tuple[float, bool]:
        """What the first process's clock says: all must save, validate and stop at the same step."""
        return self._fabric.broadcast((seconds, stopping)) if self._fabric.world_size > 1 else (seconds, stopping)

    def _flush(self) -> None:
        rate = learning_rate(self._options.recipe, self._progress)
        with self._naming_last_good():
            self._log.flush(self._reached.step, self._progress, rate, self._clock.read())

    @contextmanager
    def _naming_last_good(self, when: str = "") -> Iterator[None]:
        """Have an error of a training that went wrong also say where to go on."""
        try:
            yield
        except TrainingError as error:
            raise TrainingError(f"{when}{error}; {describe_last_good(self._output / LAST)}") from error

    def _save(self) -> None:
        self._saved = self._reached.seconds
        if self._fabric.is_global_zero:
            save_state(self._output / LAST, self._learner, self._reached, self._options, self._fingerprint)
        self._fabric.barrier()
        self._clock.restart()

    def _validate(self) -> SaliencyScores | None:
        """Scores of the held-out pictures; what they take is not of the training's minutes."""
        scores, start = None, time.monotonic()
        if self._fabric.is_global_zero:
            self._report(Status("validating", self._progress))
            with self._naming_last_good(f"after step {self._reached.step} "):
                scores = validate(self._learner.best, self._held_out, self._fabric.device)
            self._log.validated(self._reached.step, scores)
            self._report(Status("validated", self._progress, scores=scores))
        scores, self._stopping = self._fabric.broadcast((scores, self._pauses()))
        self._began += time.monotonic() - start
        self._clock.restart()
        return scores

    def _finish(self, scores: SaliencyScores | None) -> TrainResult:
        weights = self._output / f"{self._options.variant}.safetensors"
        if self._fabric.is_global_zero:
            try:
                save_weights(self._learner.best, weights)
            except (OSError, SafetensorError) as error:
                raise TrainingError(f"{weights} cannot be written: {error}; {self._output / LAST} has them") from error
        self._fabric.barrier()
        return TrainResult(weights, self._output / LAST, self._progress, scores, self._fabric.is_global_zero)


def _check_output(output: Path, options: TrainOptions) -> None:
    make_folder(output)
    for path in (output / LAST, output / f"{options.variant}.safetensors"):
        if path.is_dir():
            raise InputError(f"{path} is a folder; the training writes a file of that name")
    if (output / LAST).exists() and not options.resume:
        raise InputError(
            f"{output / LAST} is there from an earlier training; go on with it by --resume, or name another folder"
        )
    if (output / LOG).exists() and not (output / LOG).is_dir():
        raise InputError(f"{output / LOG} is no folder; the training writes its log there")


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
