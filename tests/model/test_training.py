import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from u2net.model.checkpoint import load_checkpoint, save_weights
from u2net.model.dataset import SaliencyFolder, find_pairs
from u2net.model.loss import bce_fusion
from u2net.model.network import U2NETP
from u2net.model.training import (
    LOSS_NAMES,
    RECIPES,
    Recipe,
    SaliencyModule,
    TrainOptions,
    TrainResult,
    split_pairs,
    train,
)
from u2net.runtime.errors import CheckpointError, DatasetError, DeviceError, InputError, TrainingError

RECIPE = Recipe(size=48, crop=32, batch=2, learning_rate=1e-3)
OPTIONS = TrainOptions(recipe=RECIPE, epochs=2, seed=3)


def read_log(output: Path) -> list[dict[str, str]]:
    """Rows of all logs of a training, in order."""
    rows: list[dict[str, str]] = []
    for found in sorted(output.rglob("metrics.csv")):
        with found.open(newline="") as stream:
            rows += csv.DictReader(stream)
    return rows


def logged(output: Path, name: str) -> list[float]:
    return [float(row[name]) for row in read_log(output) if row.get(name)]


def progress(path: Path) -> tuple[int, int]:
    """Epochs done and steps done, as a Lightning checkpoint has them."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content["loops"]["fit_loop"]["epoch_progress"]["total"]["completed"], content["global_step"]


@pytest.fixture(scope="module")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, Path]:
    """Two epochs on the scenes: the result and its folder."""
    output = tmp_path_factory.mktemp("trained") / "run"
    return train(scenes, output, OPTIONS), output


def test_training_leaves_weights_that_load(trained: tuple[TrainResult, Path]) -> None:
    result, output = trained

    assert result.weights == output / "u2netp.safetensors"
    assert load_checkpoint(result.weights).variant == "u2netp"


def test_its_own_checkpoint_loads_too_and_is_the_same_network(trained: tuple[TrainResult, Path]) -> None:
    result, output = trained
    weights = load_checkpoint(result.weights).network.state_dict()

    last = load_checkpoint(output / "last.ckpt").network.state_dict()

    assert result.checkpoint == output / "last.ckpt"
    assert all(torch.equal(weights[key], last[key]) for key in weights)


def test_the_best_checkpoint_is_kept(trained: tuple[TrainResult, Path]) -> None:
    assert load_checkpoint(trained[1] / "best.ckpt").variant == "u2netp"


def test_the_log_has_the_seven_losses_and_their_sum(trained: tuple[TrainResult, Path]) -> None:
    rows = [row for row in read_log(trained[1]) if row.get("loss")]

    assert rows
    for row in rows:
        assert sum(float(row[name]) for name in LOSS_NAMES) == pytest.approx(float(row["loss"]), rel=1e-4)


@pytest.mark.parametrize("name", ["val_mae", "val_max_f", "val_iou"])
def test_the_log_has_the_validation_of_each_epoch(trained: tuple[TrainResult, Path], name: str) -> None:
    values = logged(trained[1], name)

    assert len(values) >= 2
    assert all(0 <= value <= 1 for value in values)


def test_the_scores_are_the_last_logged(trained: tuple[TrainResult, Path]) -> None:
    result, output = trained

    assert result.scores.pictures == 1
    for name in ("mae", "max_f", "iou"):
        assert getattr(result.scores, name) == pytest.approx(logged(output, f"val_{name}")[-1], abs=1e-6)


def test_every_batch_is_a_step(trained: tuple[TrainResult, Path]) -> None:
    assert progress(trained[1] / "last.ckpt") == (2, 2 * (7 // 2))


def test_the_same_seed_gives_the_same_weights(trained: tuple[TrainResult, Path], scenes: Path, tmp_path: Path) -> None:
    first = load_checkpoint(trained[0].weights).network.state_dict()

    again = load_checkpoint(train(scenes, tmp_path, OPTIONS).weights).network.state_dict()

    for key, value in first.items():
        torch.testing.assert_close(again[key], value, atol=1e-4, rtol=1e-3)


def loss_on(network: U2NETP, scenes: Path) -> float:
    """Mean loss on all scenes, with batch statistics."""
    data = SaliencyFolder(find_pairs(scenes), RECIPE.size)
    images, masks = (torch.stack(tensors) for tensors in zip(*[data[index] for index in range(len(data))], strict=True))
    with torch.no_grad():
        return float(bce_fusion(network.train().logits(images), masks).total)


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


@dataclass(frozen=True)
class Resumed:
    """One epoch, then resumed to the third."""

    output: Path
    result: TrainResult
    first_leg: tuple[int, int]
    first_rows: int
    second_leg_steps: int


@pytest.fixture(scope="module")
def resumed(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    output = tmp_path_factory.mktemp("resumed")
    train(scenes, output, replace(OPTIONS, epochs=1))
    first_leg, first_rows = progress(output / "last.ckpt"), len(logged(output, "val_mae"))
    step, steps = SaliencyModule.training_step, []

    def counted(module: SaliencyModule, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        steps.append(index)
        return step(module, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SaliencyModule, "training_step", counted)
        result = train(scenes, output, replace(OPTIONS, epochs=3, resume=True))
    return Resumed(output, result, first_leg, first_rows, len(steps))


def test_resuming_goes_on_where_it_stopped(resumed: Resumed) -> None:
    assert resumed.first_leg == (1, 3)
    assert resumed.second_leg_steps == 6
    assert progress(resumed.result.checkpoint) == (3, 9)


def test_resuming_keeps_the_log_so_far(resumed: Resumed) -> None:
    assert len(logged(resumed.output, "val_mae")) >= resumed.first_rows + 2


def test_resuming_what_is_done_changes_no_weight(scenes: Path, tmp_path: Path) -> None:
    first = load_checkpoint(train(scenes, tmp_path, replace(OPTIONS, epochs=1)).weights).network.state_dict()

    again = train(scenes, tmp_path, replace(OPTIONS, epochs=1, seed=99, resume=True))

    second = load_checkpoint(again.weights).network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_there_must_be_something_to_resume(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing to resume: .*last\.ckpt is not there"):
        train(scenes, tmp_path, replace(OPTIONS, resume=True))


def test_a_damaged_checkpoint_is_not_resumed(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 cut off")

    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        train(scenes, tmp_path, replace(OPTIONS, resume=True))


class Intruder:
    """Unpickled by a careless reader, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_checkpoint_with_code_is_neither_resumed_nor_run(scenes: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "callbacks": Intruder(tmp_path / "trace")}, tmp_path / "last.ckpt")

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
        ({"recipe": replace(RECIPE, crop=31)}, "crop 31 must be at least 32"),
        ({"recipe": replace(RECIPE, crop=49)}, "at most the size 48"),
        ({"recipe": replace(RECIPE, batch=1)}, "at least 2 .* got 1"),
        ({"recipe": replace(RECIPE, learning_rate=0.0)}, "learning rate"),
        ({"recipe": replace(RECIPE, learning_rate=float("nan"))}, "learning rate"),
        ({"epochs": 0}, "epochs"),
        ({"val_fraction": 0.0}, "validation fraction"),
        ({"val_fraction": 1.0}, "validation fraction"),
        ({"val_fraction": float("nan")}, "validation fraction"),
        ({"minutes": 0.0}, "minutes"),
        ({"minutes": -3.0}, "minutes"),
        ({"workers": -1}, "workers"),
        ({"devices": 0}, "devices"),
        ({"precision": "fp8"}, "precision"),
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
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

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

    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) at step [1-9]"):
        train(scenes, tmp_path, options)
    assert not (tmp_path / "u2netp.safetensors").exists()


def test_bf16_trains_too(scenes: Path, tmp_path: Path) -> None:
    result = train(scenes, tmp_path, replace(OPTIONS, precision="bf16-mixed", epochs=1))

    assert {value.dtype for value in load_checkpoint(result.weights).network.parameters()} == {torch.float32}


@pytest.mark.parametrize(("fraction", "held_out"), [(0.02, 1), (0.25, 2), (0.5, 4)])
def test_a_seeded_share_is_held_out(scenes: Path, fraction: float, held_out: int) -> None:
    pairs = find_pairs(scenes)
    options = replace(OPTIONS, val_fraction=fraction)

    training, validation = split_pairs(pairs, options)

    assert len(validation) == held_out
    assert sorted([*training, *validation], key=lambda pair: pair.image) == pairs
    assert split_pairs(pairs, options) == (training, validation)
    assert any(split_pairs(pairs, replace(options, seed=seed))[1] != validation for seed in range(10, 20))


def test_the_authors_recipe_is_theirs() -> None:
    assert RECIPES["authors"] == Recipe(size=320, crop=288, batch=12, learning_rate=1e-3)


def test_overrides_change_what_is_given() -> None:
    assert RECIPE.with_overrides(64, None, None, 0.5) == replace(RECIPE, size=64, learning_rate=0.5)
    assert RECIPE.with_overrides(None, 40, 4, None) == replace(RECIPE, crop=40, batch=4)
