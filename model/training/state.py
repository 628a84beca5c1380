"""What a training saves: its weights, and the checkpoint that ``--resume`` reads."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from u2net.model.checkpoint import save_weights
from u2net.model.checkpoint_files import read_checkpoint_file
from u2net.model.dataset import Pair
from u2net.model.training.learner import Learner
from u2net.model.training.train_options import TrainOptions
from u2net.runtime.errors import CheckpointError, InputError, TrainingError
from u2net.runtime.files import written_whole

State = Mapping[str, Any]

LAST = "last.ckpt"

STATE_KEYS = {"model", "ema", "optimizer", "step", "seconds", "precision", "micro_batches", "budget", "choices"}


@dataclass(frozen=True)
class Elapsed:
    """Steps and seconds that a training has taken over all its runs."""

    step: int = 0
    seconds: float = 0.0


def save_training(output: Path, learner: Learner, elapsed: Elapsed, options: TrainOptions, data: str) -> None:
    """Write the weights, then ``last.ckpt``: a disk that has no room for both keeps what the training is for.

    Args:
        data: fingerprint of the pictures.

    Raises:
        TrainingError: a weight is NaN or Inf, or a file cannot be written.
    """
    last, weights = output / LAST, output / options.weights_name
    if not all(bool(value.isfinite().all()) for value in learner.best.state_dict().values()):
        raise TrainingError(f"weights became NaN or Inf before step {elapsed.step}; {describe_last_good(last)}")
    content = BytesIO()
    state = {
        "model": learner.network.state_dict(),
        "ema": None if learner.average is None else learner.average.network.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "step": elapsed.step,
        "seconds": elapsed.seconds,
        "precision": learner.fabric.strategy.precision.state_dict(),
        "micro_batches": learner.micro_batches,
        "budget": {"epochs": options.epochs, "minutes": options.minutes},
        "choices": _choices(options, data),
    }
    torch.save(state, content)  # in memory, because torch hides why a file cannot be written
    target, kept = weights, ""
    try:
        save_weights(learner.best, weights)
        target, kept = last, f"; the weights after step {elapsed.step} are safe in {weights}"
        with written_whole(last) as partial:
            partial.write_bytes(content.getbuffer())
    except OSError as error:
        raise TrainingError(f"{target} cannot be written: {error.strerror or error}{kept}") from error


def read_state(path: Path, options: TrainOptions, pairs: Sequence[Pair]) -> State:
    """Return the checkpoint from which a training with these options can go on.

    Raises:
        InputError: it is missing, or was written with another recipe, variant, seed, validation share or data set.
        CheckpointError: it cannot be read, or another program wrote it.
    """
    if not path.is_file():
        raise InputError(f"nothing to resume: {path} is not there")
    state = read_checkpoint_file(path)
    if not isinstance(state, dict) or not state.keys() >= STATE_KEYS:
        raise CheckpointError(f"{path} was not written by this version's trainer; start from its weights with --init")
    then, now = state["choices"], _choices(options, fingerprint(pairs))
    changed = [f"{name} {then.get(name)!r}, not {value!r}" for name, value in now.items() if then.get(name) != value]
    if changed:
        raise InputError(
            f"{path} was written with {'; '.join(changed)}: resume with the same options, or start anew with --init"
        )
    return state


def restore_state(state: State, learner: Learner) -> Elapsed:
    """Load a checkpoint into a learner of the same variant; return the steps and seconds that it has taken."""
    learner.network.load_state_dict(state["model"])
    if learner.average is not None:
        learner.average.network.load_state_dict(state["ema"])
        learner.average.updates = state["step"]
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.fabric.strategy.precision.load_state_dict(state["precision"])
    learner.micro_batches = state["micro_batches"]
    return Elapsed(state["step"], state["seconds"])


def fingerprint(pairs: Sequence[Pair]) -> str:
    """Return a hash of the pictures' names, which decide what each step sees."""
    names = "\n".join(pair.image.name for pair in pairs)
    return f"{len(pairs)} pictures, {hashlib.sha256(names.encode()).hexdigest()[:12]}"


def describe_last_good(path: Path) -> str:
    """Say where to go on after a training has diverged."""
    if path.is_file():
        return f"the last good checkpoint is {path}: start from it with --init and a lower --lr"
    return "no checkpoint was written before that; begin again with a lower --lr"


def _choices(options: TrainOptions, data: str) -> dict[str, Any]:
    """Return what must not change when a training is resumed; lists replace tuples, as in the file."""
    own = {name: getattr(options, name) for name in ("variant", "seed", "val_fraction")}
    recipe = asdict(options.recipe)
    return {"data": data, **own, **recipe, "phases": list(recipe["phases"])}
