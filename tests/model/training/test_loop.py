"""Whole trainings of seconds on eight scenes."""

import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.model.training.conftest import OPTIONS, RECIPE, Cramped, logged, read_log
from u2net.model.checkpoint import load_checkpoint, save_weights
from u2net.model.dataset import find_pairs
from u2net.model.loss import bce_fusion
from u2net.model.network import U2NETP
from u2net.model.synthetic import write_scenes
from u2net.model.training import Stage, Status, TrainOptions, TrainResult, train
from u2net.model.training.batches import normalize_batch
from u2net.model.training.pictures import decode_pictures
from u2net.model.training.progress import LOSS_NAMES
from u2net.model.training.recipes import OptimizerName
from u2net.model.training.stopping import stop_on_signals
from u2net.runtime.errors import CheckpointError, DatasetError, DeviceError, InputError, TrainingError

STEPS = 3
"""Of an epoch: seven pictures in batches of two."""


@pytest.fixture(scope="module")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, Path, list[Status]]:
    """Two epochs on the scenes: the result, its folder and what was reported."""
    output, reported = tmp_path_factory.mktemp("trained") / "run", list[Status]()
    return train(scenes, output, OPTIONS, reported.append), output, reported


Trained = tuple[TrainResult, Path, list[Status]]


def test_training_leaves_weights_that_load(trained: Trained) -> None:
    result, output, _ = trained

    assert (result.weights, result.progress) == (output / "u2netp.safetensors", 1)
    assert load_checkpoint(result.weights).variant == "u2netp"


def test_its_own_checkpoint_loads_too_and_is_the_same_network(trained: Trained) -> None:
    result, output, _ = trained
    weights = load_checkpoint(result.weights).network.state_dict()

    last = load_checkpoint(output / "last.ckpt").network.state_dict()

    assert result.checkpoint == output / "last.ckpt"
    assert all(torch.equal(weights[key], last[key]) for key in weights)


def test_the_log_has_the_seven_losses_their_sum_and_the_speed(trained: Trained) -> None:
    rows = [row for row in read_log(trained[1]) if row.get("loss")]

    assert [float(row["progress"]) for row in rows][-1] == 1
    for row in rows:
        assert sum(float(row[name]) for name in LOSS_NAMES) == pytest.approx(float(row["loss"]), rel=1e-4)
        assert float(row["images_per_second"]) > 0
        assert 0 < float(row["waiting"]) < 1
        assert float(row["learning_rate"]) == RECIPE.learning_rate


def test_it_is_validated_five_times_and_at_the_end(trained: Trained) -> None:
    result, output, _ = trained
    steps = [int(row["step"]) for row in read_log(output) if row.get("val_mae")]

    assert steps == [2, 3, 4, 5, 6]
    assert result.scores is not None
    assert result.scores.pictures == 1
    for name in ("mae", "max_f", "iou", "boundary_f"):
        assert getattr(result.scores, name) == pytest.approx(logged(output, f"val_{name}")[-1], abs=1e-6)


def test_it_is_told_what_is_done(trained: Trained) -> None:
    reported = trained[2]

    doing = [status.doing for status in reported]
    assert doing[:8] == ["reading"] * 7 + ["training"]
    assert doing[-2:] == ["validating", "validated"]
    assert reported[-1].scores == trained[0].scores
    last = [status for status in reported if status.doing == "training"][-1]
    assert last.progress == 1
    assert last.loss == pytest.approx(logged(trained[1], "loss")[-1])


def test_every_batch_is_a_step(trained: Trained) -> None:
    assert torch.load(trained[0].checkpoint, weights_only=True)["step"] == 2 * STEPS


def test_the_same_seed_gives_the_same_weights(trained: Trained, scenes: Path, tmp_path: Path) -> None:
    first = load_checkpoint(trained[0].weights).network.state_dict()

    again = load_checkpoint(train(scenes, tmp_path, OPTIONS).weights).network.state_dict()

    for key, value in first.items():
        torch.testing.assert_close(again[key], value, atol=1e-4, rtol=1e-3)


def loss_on(network: U2NETP, scenes: Path) -> float:
    """Mean loss on all scenes, with batch statistics."""
    pictures = decode_pictures(find_pairs(scenes), RECIPE.size)
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
    network = load_checkpoint(train(scenes, tmp_path / "run", options).weights).network

    assert isinstance(network, U2NETP)
    assert loss_on(network, scenes) < 0.9 * before


EVERYTHING = replace(
    RECIPE,
    stages=(Stage(0.0, 32), Stage(0.3, 48, frozen=2), Stage(0.6, 48)),
    augmentation="strong",
    optimizer="adamw",
    weight_decay=0.01,
    annealed=True,
    warmup=0.2,
    ema=0.9,
)
"""A recipe with all that has a state."""


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_training_interrupted_after_every_step_ends_in_the_same_weights(
    scenes: Path, tmp_path: Path, optimizer: OptimizerName
) -> None:
    options = replace(OPTIONS, recipe=replace(EVERYTHING, optimizer=optimizer))
    whole = train(scenes, tmp_path / "whole", options)

    progress = []
    for leg in range(2 * STEPS):
        part = train(scenes, tmp_path / "parts", replace(options, pause=1e-9, resume=leg > 0))
        progress.append(part.progress)

    assert progress == pytest.approx([step / (2 * STEPS) for step in range(1, 2 * STEPS + 1)])
    states = [torch.load(run.checkpoint, weights_only=True) for run in (whole, part)]
    for name in ("state_dict", "trained"):
        assert all(torch.equal(value, states[1][name][key]) for key, value in states[0][name].items())
    moments = [state["optimizer"]["state"] for state in states]
    assert all(torch.equal(each[name], moments[1][key][name]) for key, each in moments[0].items() for name in each)
    assert any("momentum" in each for each in moments[0].values()) == (optimizer == "muon")
    assert part.scores == whole.scores


def test_resuming_is_exact_in_too_little_memory(scenes: Path, tmp_path: Path, cramped: Cramped) -> None:
    options = replace(OPTIONS, recipe=replace(RECIPE, batch=6))
    whole = train(scenes, tmp_path / "whole", options)

    train(scenes, tmp_path / "parts", replace(options, pause=1e-9))
    parts = train(scenes, tmp_path / "parts", replace(options, resume=True))

    assert cramped.sizes == [6, 3, 3, 3, 3] * 2
    weights = [load_checkpoint(run.weights).network.state_dict() for run in (whole, parts)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_budget_of_the_checkpoint_holds_where_none_is_given(scenes: Path, tmp_path: Path) -> None:
    train(scenes, tmp_path, replace(OPTIONS, epochs=2, pause=1e-9))

    half = train(scenes, tmp_path, replace(OPTIONS, epochs=None, resume=True, pause=1e-9))
    longer = train(scenes, tmp_path, replace(OPTIONS, epochs=4, resume=True, pause=1e-9))

    assert half.progress == pytest.approx(2 / (2 * STEPS))
    assert longer.progress == pytest.approx(3 / (4 * STEPS))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_pauses_after_the_step(scenes: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, or what a batch system sends before it ends a job."""

    def interrupt(status: Status) -> None:
        if status.doing == "validating":
            signal.raise_signal(number)

    before = signal.getsignal(number)
    result = train(scenes, tmp_path, replace(OPTIONS, epochs=5), interrupt)

    assert signal.getsignal(number) is before
    assert 0 < result.progress < 0.5
    resumed = train(scenes, tmp_path, replace(OPTIONS, epochs=5, resume=True))
    assert resumed.progress == 1


def test_a_second_ctrl_c_is_not_held_back() -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop
        signal.raise_signal(signal.SIGINT)


def test_other_pictures_are_not_resumed(trained: Trained, tmp_path: Path) -> None:
    write_scenes(tmp_path / "others", 9, size=64)

    with pytest.raises(InputError, match=r"was written with data '8 pictures, \w+', not '9 pictures, \w+'"):
        train(tmp_path / "others", trained[1], replace(OPTIONS, resume=True))


def test_masks_of_ones_are_refused(scenes: Path, tmp_path: Path) -> None:
    """1 for the object instead of 255."""
    shutil.copytree(scenes, tmp_path / "data")
    for path in (tmp_path / "data" / "masks").iterdir():
        Image.fromarray((np.asarray(Image.open(path)) > 127).astype(np.uint8)).save(path)

    with pytest.raises(DatasetError, match="no mask has a value above 127; a mask is 255 where the object is"):
        train(tmp_path / "data", tmp_path / "run", OPTIONS)


@pytest.mark.parametrize("name", ["last.ckpt", "u2netp.safetensors"])
def test_a_folder_in_place_of_a_file_is_found_before_the_work(scenes: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()

    with pytest.raises(InputError, match=f"{name} is a folder"):
        train(scenes, tmp_path, OPTIONS)


def test_a_file_in_place_of_the_log_is_found_before_the_work(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "log").touch()

    with pytest.raises(InputError, match="log is no folder"):
        train(scenes, tmp_path, OPTIONS)


def test_a_network_that_ends_in_nan_leaves_no_weights(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are finite, and too large for its own arithmetic."""
    monkeypatch.setattr("u2net.model.training.loop.learning_rate", lambda *_: 1e30)

    with pytest.raises(TrainingError, match=r"after step 1 the network gives NaN or Inf: .*; no checkpoint"):
        train(scenes, tmp_path, replace(OPTIONS, recipe=replace(RECIPE, batch=6), epochs=1))
    assert not (tmp_path / "u2netp.safetensors").exists()


def test_another_trainings_checkpoint_is_not_overwritten(scenes: Path, tmp_path: Path) -> None:
    first = train(scenes, tmp_path, replace(OPTIONS, epochs=1))
    before = first.checkpoint.read_bytes(), first.weights.read_bytes()

    with pytest.raises(InputError, match=r"last\.ckpt is there from an earlier training; go on with it by --resume"):
        train(scenes, tmp_path, replace(OPTIONS, epochs=2, seed=9))
    assert (first.checkpoint.read_bytes(), first.weights.read_bytes()) == before


def test_a_full_disk_is_said_with_where_the_weights_are(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("u2net.model.training.loop.save_weights", fail)

    with pytest.raises(TrainingError, match=r"u2netp\.safetensors cannot be written: .*space.*last\.ckpt has them"):
        train(scenes, tmp_path, replace(OPTIONS, epochs=1))


def test_a_pause_leaves_weights_and_no_scores(scenes: Path, tmp_path: Path) -> None:
    result = train(scenes, tmp_path, replace(OPTIONS, pause=1e-9))

    assert (result.progress, result.scores) == (1 / (2 * STEPS), None)
    assert load_checkpoint(result.weights).variant == "u2netp"


def test_what_is_done_is_resumed_without_a_step(scenes: Path, tmp_path: Path) -> None:
    first = load_checkpoint(train(scenes, tmp_path, replace(OPTIONS, epochs=1)).weights).network.state_dict()

    again = train(scenes, tmp_path, replace(OPTIONS, epochs=1, resume=True))

    second = load_checkpoint(again.weights).network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.load(again.checkpoint, weights_only=True)["step"] == STEPS


def test_minutes_end_a_training_annealed(scenes: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, annealed=True)

    result = train(scenes, tmp_path, replace(OPTIONS, recipe=recipe, epochs=None, minutes=0.05))

    state = torch.load(result.checkpoint, weights_only=True)
    assert 3 <= state["seconds"] < 20
    assert state["step"] >= 2
    assert state["optimizer"]["param_groups"][0]["lr"] < 0.5 * recipe.learning_rate
    assert (result.progress, logged(tmp_path, "learning_rate")[-1]) == (1, 0)


def test_there_must_be_something_to_resume(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing to resume: .*last\.ckpt is not there"):
        train(scenes, tmp_path, replace(OPTIONS, resume=True))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"seed": 4}, "seed 3, not 4"),
        ({"val_fraction": 0.3}, r"val_fraction 0\.02, not 0\.3"),
        ({"recipe": replace(RECIPE, learning_rate=0.5)}, r"learning_rate 0\.001, not 0\.5"),
        ({"recipe": replace(RECIPE, stages=(Stage(0.0, 40),))}, "stages .*'crop': 32.*, not .*'crop': 40"),
    ],
)
def test_other_options_are_not_resumed(trained: Trained, scenes: Path, change: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=f"was written with {found}.*: resume with the same options"):
        train(scenes, trained[1], replace(OPTIONS, resume=True, **change))


def test_a_damaged_checkpoint_is_not_resumed(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 cut off")

    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        train(scenes, tmp_path, replace(OPTIONS, resume=True))


def test_a_checkpoint_of_another_trainer_is_not_resumed(
    scenes: Path, tmp_path: Path, fresh_state: Callable[[int], dict[str, Tensor]]
) -> None:
    torch.save({"state_dict": fresh_state(1), "epoch": 3}, tmp_path / "last.ckpt")

    with pytest.raises(CheckpointError, match=r"not written by this version's trainer; .* --init"):
        train(scenes, tmp_path, replace(OPTIONS, resume=True))


class Intruder:
    """Unpickled by a careless reader, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_checkpoint_with_code_is_neither_resumed_nor_run(scenes: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "choices": Intruder(tmp_path / "trace")}, tmp_path / "last.ckpt")

    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        train(scenes, tmp_path, replace(OPTIONS, resume=True))
    assert not (tmp_path / "trace").exists()


def test_init_starts_from_given_weights(
    scenes: Path, tmp_path: Path, fresh_state: Callable[[int], dict[str, Tensor]]
) -> None:
    start = {key: value + 0.01 if key.endswith("bias") else value for key, value in fresh_state(1).items()}
    torch.save(start, tmp_path / "start.pth")
    still = replace(RECIPE, learning_rate=1e-12)

    result = train(scenes, tmp_path, replace(OPTIONS, recipe=still, epochs=1, init=tmp_path / "start.pth"))

    network = load_checkpoint(result.weights).network
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter, start[name], atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize(("variant", "channels"), [("u2net", 1), ("u2netp", 4)])
def test_init_of_another_kind_is_refused(
    scenes: Path, tmp_path: Path, fresh_state: Callable[[int], dict[str, Tensor]], variant: str, channels: int
) -> None:
    torch.save(fresh_state(channels), tmp_path / "start.pth")

    with pytest.raises(InputError, match=f"holds u2netp with {channels} output channels; training is for {variant}"):
        train(scenes, tmp_path, replace(OPTIONS, variant=variant, init=tmp_path / "start.pth"))


def test_init_that_is_no_checkpoint_is_refused(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        train(scenes, tmp_path, replace(OPTIONS, init=tmp_path / "nowhere.pth"))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"variant": "u2netx"}, "u2net, u2netp"),
        ({"recipe": replace(RECIPE, batch=1)}, r"at least 2 .* got 1"),
        ({"epochs": 0}, "epochs"),
        ({"val_fraction": 0.0}, "validation fraction"),
        ({"val_fraction": 1.0}, "validation fraction"),
        ({"val_fraction": float("nan")}, "validation fraction"),
        ({"minutes": 0.0}, "minutes"),
        ({"minutes": float("nan")}, "minutes"),
        ({"pause": -3.0}, "pause"),
        ({"devices": 0}, "devices"),
        ({"devices": 2}, "a batch of 2 cannot be shared by 2 devices"),
        ({"seed": -1}, "a seed is from 0"),
        ({"seed": 2**63}, "a seed is from 0"),
        ({"recipe": replace(RECIPE, precision="16-mixed")}, "16-mixed is for GPUs"),
        ({"init": Path("net.pth"), "resume": True}, "--init or --resume"),
        ({"device": "abacus"}, "device"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(
    scenes: Path, tmp_path: Path, change: dict[str, Any], found: str
) -> None:
    with pytest.raises(InputError, match=found):
        train(scenes, tmp_path / "run", replace(OPTIONS, **change))
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_a_device_error(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(DeviceError, match="cuda"):
        train(scenes, tmp_path, replace(OPTIONS, device="cuda"))


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="images"):
        train(tmp_path, tmp_path / "run", OPTIONS)


def test_too_few_pictures_for_a_batch_are_refused(scenes: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, recipe=replace(RECIPE, batch=8))

    with pytest.raises(InputError, match=r"8 pairs less 1 held out .* one batch of 8"):
        train(scenes, tmp_path, options)


def test_a_loss_that_is_no_number_stops_the_training(scenes: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, recipe=replace(RECIPE, learning_rate=1e30))

    with pytest.raises(
        TrainingError, match=r"the loss became (nan|inf) at step [1-3]; no checkpoint was written before that"
    ):
        train(scenes, tmp_path, options)
    assert not (tmp_path / "u2netp.safetensors").exists()
    assert not (tmp_path / "last.ckpt").exists()


def test_the_last_good_checkpoint_is_named_and_kept(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = train(scenes, tmp_path, replace(OPTIONS, epochs=1)).checkpoint
    before = good.read_bytes()
    monkeypatch.setattr("u2net.model.training.loop.learning_rate", lambda *_: 1e30)

    with pytest.raises(TrainingError, match=rf"at step [4-6]; the last good checkpoint is {good}: .* --init"):
        train(scenes, tmp_path, replace(OPTIONS, epochs=4, resume=True))
    assert good.read_bytes() == before


def test_weights_that_are_no_numbers_are_not_saved(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step: its loss was fine, the weights after it are not."""
    monkeypatch.setattr("u2net.model.training.loop.learning_rate", lambda *_: float("inf"))

    with pytest.raises(TrainingError, match="weights became NaN or Inf before step 1"):
        train(scenes, tmp_path, replace(OPTIONS, pause=1e-9))
    assert not (tmp_path / "last.ckpt").exists()


def test_bf16_trains_too(scenes: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, precision="bf16-mixed")

    result = train(scenes, tmp_path, replace(OPTIONS, recipe=recipe, epochs=1))

    assert {value.dtype for value in load_checkpoint(result.weights).network.parameters()} == {torch.float32}


def test_without_epochs_and_minutes_it_is_a_hundred_epochs() -> None:
    assert TrainOptions().budget(7).steps == 700
    assert TrainOptions(minutes=2).budget(7).steps is None
    assert TrainOptions(minutes=2, epochs=3).budget(7).steps == 21
    assert TrainOptions(minutes=2).budget(7).seconds == 120
