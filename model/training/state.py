"""What a training saves: its weights, and the checkpoint that ``--resume`` reads."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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

LAST = "last.ckpt"

STATE_KEYS = {"model", "ema", "optimizer", "step", "seconds", "precision", "micro_batches", "budget", "choices"}


def save_training(
    output: Path, learner: Learner, options: TrainOptions, *, data: str, step: int, seconds: float
) -> None:
    """Write the weights, then ``last.ckpt``: a disk without room for both keeps the weights.

    ``data`` is the fingerprint of the pictures; steps and seconds are those of all runs of the training.
    """
    last, weights = output / LAST, output / options.weights_name
    if not all(bool(value.isfinite().all()) for value in learner.best.state_dict().values()):
        raise diverged(f"weights became NaN or Inf before step {step}", output)
    content = BytesIO()
    state = {
        "model": learner.network.state_dict(),
        "ema": None if learner.average is None else learner.average.network.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "step": step,
        "seconds": seconds,
        "precision": learner.fabric.strategy.precision.state_dict(),
        "micro_batches": learner.micro_batches,
        "budget": {"epochs": options.epochs, "minutes": options.minutes},
        "choices": _choices(options, data),
    }
    torch.save(state, content)  # in memory, because torch hides why a file cannot be written
    target, kept = weights, ""
    try:
        save_weights(learner.best, weights)
        target, kept = last, f"; the weights after step {step} are safe in {weights}"
        with written_whole(last) as partial:
            partial.write_bytes(content.getbuffer())
    except OSError as error:
        raise TrainingError(f"{target} cannot be written: {error.strerror or error}{kept}") from error


def read_state(path: Path, options: TrainOptions, data: str) -> Mapping[str, Any]:
    """Return the checkpoint from which a training with these options on these pictures can go on."""
    if not path.is_file():
        raise InputError(f"nothing to resume: {path} is not there")
    state = read_checkpoint_file(path)
    if not isinstance(state, dict) or not state.keys() >= STATE_KEYS or not isinstance(state["choices"], dict):
        raise CheckpointError(f"{path} was not written by this version's trainer; start from its weights with --init")
    then, now = state["choices"], _choices(options, data)
    changed = [name for name, value in now.items() if then.get(name) != value]
    if changed:
        found = f"other values of {', '.join(changed)}"
        if len(changed) == 1:
            found = f"{changed[0]} {then.get(changed[0])!r}, not {now[changed[0]]!r}"
        raise InputError(
            f"{path} was written with {found}: resume with the same options, or start anew in another folder with "
            f"--init {path}"
        )
    return state


def restore_state(state: Mapping[str, Any], learner: Learner) -> tuple[int, float]:
    """Load a checkpoint into a learner of the same variant; return the steps and seconds that it has taken."""
    try:
        learner.network.load_state_dict(state["model"])
        if learner.average is not None:
            learner.average.network.load_state_dict(state["ema"])
            learner.average.updates = state["step"]
        learner.optimizer.load_state_dict(state["optimizer"])
        learner.fabric.strategy.precision.load_state_dict(state["precision"])
        learner.micro_batches = state["micro_batches"]
        return state["step"], state["seconds"]
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{LAST} is damaged ({error!r}); start from its weights with --init") from error


def fingerprint(pairs: Sequence[Pair]) -> str:
    """Return a hash of the pictures' names, which decide what each step sees."""
    names = "\n".join(pair.image.name for pair in pairs)
    return f"{len(pairs)} pictures, {hashlib.sha256(os.fsencode(names)).hexdigest()[:12]}"


def diverged(what: str, output: Path) -> TrainingError:
    """Return the error of a training that diverged; it says how to go on."""
    last, advice = output / LAST, "no checkpoint was written before that; begin again with a lower --lr"
    if last.is_file():
        advice = f"the last good checkpoint is {last}: start from it with --init and a lower --lr"
    return TrainingError(f"{what}; {advice}")


def _choices(options: TrainOptions, data: str) -> dict[str, Any]:
    """Return what must not change when a training is resumed; lists replace tuples, as in the file."""
    own = {name: getattr(options, name) for name in ("variant", "seed", "val_fraction")}
    recipe = asdict(options.recipe)
    return {"data": data, **own, **recipe, "phases": list(recipe["phases"])}
