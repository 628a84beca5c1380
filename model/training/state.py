"""What a training needs to go on: written every few minutes, read by ``--resume``."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from u2net.model.checkpoint import load_checkpoint
from u2net.model.dataset import Pair
from u2net.model.training.learner import Learner
from u2net.model.training.options import TrainOptions
from u2net.runtime.errors import CheckpointError, InputError, TrainingError
from u2net.runtime.files import written_whole

State = Mapping[str, Any]

LAST = "last.ckpt"

WRITTEN = {"state_dict", "trained", "optimizer", "step", "seconds", "precision", "pieces", "budget", "choices"}


@dataclass(frozen=True)
class Reached:
    """How far a training is."""

    step: int = 0
    seconds: float = 0.0
    """Spent so far, over all runs."""


def save_state(path: Path, learner: Learner, reached: Reached, options: TrainOptions, data: str) -> None:
    """Write a checkpoint, whole or not at all: ``state_dict`` are the weights to keep, ``trained`` those that learn.

    Args:
        data: fingerprint of the pictures.

    Raises:
        TrainingError: a weight is NaN or Inf, or the file cannot be written.
    """
    weights = learner.best.state_dict()
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise TrainingError(f"weights became NaN or Inf before step {reached.step}; {describe_last_good(path)}")
    state = {
        "state_dict": weights,
        "trained": None if learner.average is None else learner.network.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "step": reached.step,
        "seconds": reached.seconds,
        "precision": learner.precision_state(),
        "pieces": learner.pieces,
        "budget": {"epochs": options.epochs, "minutes": options.minutes},
        "choices": _choices(options, data),
    }
    try:
        with written_whole(path) as partial:
            torch.save(state, partial)
    except (OSError, RuntimeError) as error:
        raise TrainingError(f"{path} cannot be written: {error}") from error


def read_state(path: Path, options: TrainOptions, pairs: Sequence[Pair]) -> State:
    """A checkpoint that a training with these options can go on from.

    Raises:
        InputError: it is not there, or was written with another recipe, variant, seed, validation share or data set.
        CheckpointError: it cannot be read, or no training here wrote it.
    """
    if not path.is_file():
        raise InputError(f"nothing to resume: {path} is not there")
    load_checkpoint(path)  # refuses what is damaged or holds code
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not state.keys() >= WRITTEN:
        raise CheckpointError(f"{path} was not written by this version's trainer; start from its weights with --init")
    then, now = state["choices"], _choices(options, fingerprint(pairs))
    changed = [f"{name} {then.get(name)!r}, not {value!r}" for name, value in now.items() if then.get(name) != value]
    if changed:
        raise InputError(
            f"{path} was written with {'; '.join(changed)}: resume with the same options, or start anew with --init"
        )
    return state


def restore_state(state: State, learner: Learner) -> Reached:
    """Put a checkpoint into a learner whose network has its shape; how far it was."""
    kept, trained = state["state_dict"], state["trained"]
    learner.network.load_state_dict(kept if trained is None else trained)
    if learner.average is not None:
        learner.average.network.load_state_dict(kept)
        learner.average.updates = state["step"]
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.load_precision_state(state["precision"])
    learner.pieces = state["pieces"]
    return Reached(state["step"], state["seconds"])


def with_budget(options: TrainOptions, state: State) -> TrainOptions:
    """The options with the epochs and minutes of the checkpoint, where neither is given anew."""
    if options.epochs is not None or options.minutes is not None:
        return options
    return replace(options, **state["budget"])


def fingerprint(pairs: Sequence[Pair]) -> str:
    """Hash of the pictures' names: which picture a step sees depends on them."""
    names = "\n".join(pair.image.name for pair in pairs)
    return f"{len(pairs)} pictures, {hashlib.sha256(names.encode()).hexdigest()[:12]}"


def describe_last_good(path: Path) -> str:
    """Where to go on after a training went wrong."""
    if path.is_file():
        return f"the last good checkpoint is {path}: start from it with --init and a lower --lr"
    return "no checkpoint was written before that; begin again with a lower --lr"


def _choices(options: TrainOptions, data: str) -> dict[str, Any]:
    own = {name: getattr(options, name) for name in ("variant", "seed", "val_fraction")}
    recipe = {name: _plain(value) for name, value in asdict(options.recipe).items()}
    return {"data": data, **own, **recipe}


def _plain(value: Any) -> Any:
    """Tuples as lists, as they come back from a file."""
    return [dict(each) for each in value] if isinstance(value, tuple) else value
