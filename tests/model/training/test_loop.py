"""Whole trainings of seconds on eight scenes. Modules: loop, step_log."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.model.training.conftest import OPTIONS, RECIPE, STEPS, Trained, logged, read_log
from u2net.model.checkpoint import load_checkpoint, save_weights
from u2net.model.dataset import find_pairs
from u2net.model.loss import bce_fusion
from u2net.model.network import U2NETP
from u2net.model.training import TrainStatus, train_network
from u2net.model.training.batches import normalize_batch
from u2net.model.training.decoded_pairs import decode_pairs
from u2net.model.training.recipes import Recipe
from u2net.model.training.step_log import LOSS_NAMES
from u2net.runtime.errors import TrainingError


def test_weights_and_checkpoint_hold_the_same_network(trained: Trained) -> None:
    result = trained[0]

    assert (result.weights.name, result.checkpoint.name, result.progress) == ("u2netp.safetensors", "last.ckpt", 1)
    weights, last = (load_checkpoint(path).network.state_dict() for path in (result.weights, result.checkpoint))
    assert all(torch.equal(value, last[key]) for key, value in weights.items())
    assert torch.load(result.checkpoint, weights_only=True)["step"] == 2 * STEPS


def test_the_log_has_the_seven_losses_their_sum_and_the_speed(trained: Trained) -> None:
    rows = [row for row in read_log(trained[0].weights.parent) if row.get("loss")]

    assert [float(row["progress"]) for row in rows][-1] == 1
    for row in rows:
        assert sum(float(row[name]) for name in LOSS_NAMES) == pytest.approx(float(row["loss"]), rel=1e-4)
        assert float(row["images_per_second"]) > 0
        assert 0 < float(row["waiting"]) < 1
        assert float(row["learning_rate"]) == RECIPE.learning_rate


def test_a_training_is_validated_five_times_the_last_at_its_end(trained: Trained) -> None:
    result, reported = trained
    output = result.weights.parent

    assert [int(row["step"]) for row in read_log(output) if row.get("val_mae")] == [2, 3, 4, 5, 6]
    assert result.scores is not None
    assert result.scores.pictures == 1
    assert reported[-1].scores == result.scores
    for name in ("mae", "max_f", "iou", "boundary_f"):
        assert getattr(result.scores, name) == pytest.approx(logged(output, f"val_{name}")[-1], abs=1e-6)


def test_activity_and_progress_are_reported(trained: Trained) -> None:
    result, reported = trained

    activities = [status.activity for status in reported]
    assert activities[:8] == ["reading"] * 7 + ["training"]
    assert activities[-2:] == ["validating", "validated"]
    last = [status for status in reported if status.activity == "training"][-1]
    assert last.progress == 1
    assert last.loss == pytest.approx(logged(result.weights.parent, "loss")[-1])


def loss_on(network: U2NETP, scenes: Path) -> float:
    """Return the mean loss on all scenes, with batch statistics."""
    pictures = decode_pairs(find_pairs(scenes), RECIPE.size)
    images, masks = pictures.take(torch.arange(len(pictures)), torch.device("cpu"))
    with torch.no_grad():
        return float(bce_fusion(network.train().logits(normalize_batch(images)), masks).total)


def test_training_lowers_the_loss(
    scenes: Path, tmp_path: Path, fresh_state: Callable[[int], dict[str, Tensor]]
) -> None:
    start = U2NETP()
    start.load_state_dict(fresh_state(1))
    save_weights(start, tmp_path / "start.safetensors")
    before = loss_on(start, scenes)

    options = replace(OPTIONS, epochs=6, init=tmp_path / "start.safetensors")
    network = load_checkpoint(train_network(scenes, tmp_path / "run", options).weights).network

    assert isinstance(network, U2NETP)
    assert loss_on(network, scenes) < 0.9 * before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_pauses_after_the_step(scenes: Path, tmp_path: Path, number: signal.Signals) -> None:
    """SIGINT is Ctrl-C, SIGTERM comes from batch systems before they end a job."""

    sent = list[int]()

    def interrupt(status: TrainStatus) -> None:
        if status.activity == "validating" and not sent:  # a second one ends the process
            sent.append(number)
            signal.raise_signal(number)

    before = signal.getsignal(number)
    result = train_network(scenes, tmp_path, replace(OPTIONS, epochs=5), interrupt)

    assert signal.getsignal(number) is before
    assert 0 < result.progress < 0.5
    resumed = train_network(scenes, tmp_path, replace(OPTIONS, epochs=5, resume=True))
    assert resumed.progress == 1


def test_a_training_of_minutes_ends_annealed(scenes: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, annealed=True)

    result = train_network(scenes, tmp_path, replace(OPTIONS, recipe=recipe, epochs=None, minutes=0.05))

    state = torch.load(result.checkpoint, weights_only=True)
    assert 3 <= state["seconds"] < 20
    assert state["step"] >= 2
    assert state["optimizer"]["param_groups"][0]["lr"] < 0.5 * recipe.learning_rate
    assert (result.progress, logged(tmp_path, "learning_rate")[-1]) == (1, 0)


def test_a_network_that_ends_in_nan_leaves_no_weights(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are finite, but its maps overflow."""
    monkeypatch.setattr(Recipe, "learning_rate_at", lambda *_: 1e30)

    with pytest.raises(TrainingError, match=r"after step 1 the network gives NaN or Inf: .*; no checkpoint"):
        train_network(scenes, tmp_path, replace(OPTIONS, recipe=replace(RECIPE, batch=6), epochs=1))
    assert not (tmp_path / "u2netp.safetensors").exists()


def test_a_loss_of_nan_or_inf_stops_the_training(scenes: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, recipe=replace(RECIPE, learning_rate=1e30))

    with pytest.raises(
        TrainingError, match=r"the loss became (nan|inf) at step [1-3]; no checkpoint was written before that"
    ):
        train_network(scenes, tmp_path, options)
    assert not (tmp_path / "u2netp.safetensors").exists()
    assert not (tmp_path / "last.ckpt").exists()


def test_the_last_good_checkpoint_is_named_and_kept(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = train_network(scenes, tmp_path, replace(OPTIONS, epochs=1)).checkpoint
    before = good.read_bytes()
    monkeypatch.setattr(Recipe, "learning_rate_at", lambda *_: 1e30)

    with pytest.raises(TrainingError, match=rf"at step [4-6]; the last good checkpoint is {good}: .* --init"):
        train_network(scenes, tmp_path, replace(OPTIONS, epochs=4, resume=True))
    assert good.read_bytes() == before


def test_weights_of_nan_or_inf_are_not_saved(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the only step is finite, the weights after it are not."""
    monkeypatch.setattr(Recipe, "learning_rate_at", lambda *_: float("inf"))

    with pytest.raises(TrainingError, match="weights became NaN or Inf before step 1"):
        train_network(scenes, tmp_path, replace(OPTIONS, pause=1e-9))
    assert not (tmp_path / "last.ckpt").exists()


def test_bf16_training_keeps_weights_in_single_precision(scenes: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, precision="bf16-mixed")

    result = train_network(scenes, tmp_path, replace(OPTIONS, recipe=recipe, epochs=1))

    assert {value.dtype for value in load_checkpoint(result.weights).network.parameters()} == {torch.float32}
