"""Training of the inner stages with frozen outer stages."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.model.training.conftest import OPTIONS, RECIPE, read_log
from u2net.model.checkpoint import load_checkpoint, save_weights
from u2net.model.network import U2NETP
from u2net.model.training import Phase, train_network
from u2net.model.training.inner import inner_losses
from u2net.model.training.learner import Learner
from u2net.model.training.recipes import OptimizerName
from u2net.model.training.start import launch_fabric
from u2net.model.training.step_log import LOSS_NAMES
from u2net.runtime.errors import InputError

FROZEN = replace(RECIPE, phases=(Phase(0.0, 32, frozen=2),), optimizer="adamw", weight_decay=0.1)
BATCH = torch.randn(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
OUTER = ("stage1.", "stage2.", "stage1d.", "stage2d.", "side1.", "side2.", "outconv.")


@pytest.mark.parametrize("outer", [1, 2, 5])
def test_the_losses_are_those_of_the_side_maps_at_their_own_size(network: U2NETP, outer: int) -> None:
    images, masks = torch.randn(2, 3, 64, 96), torch.rand(2, 1, 64, 96).round()
    found: dict[int, Tensor] = {}
    sides: list[nn.Module] = [network.get_submodule(f"side{number}") for number in range(1, 7)]
    for number, side in enumerate(sides, start=1):
        side.register_forward_hook(lambda _module, _inputs, output, number=number: found.update({number: output}))

    with torch.no_grad():
        network.eval().logits(images)
        whole = dict(found)
        losses = inner_losses(network, images, masks, outer)

    assert losses.shape == (6 - outer,)
    truth = F.avg_pool2d(masks, 2**outer)
    for loss, number in zip(losses, range(outer + 1, 7), strict=True):
        probability = F.interpolate(whole[number], truth.shape[2:], mode="bilinear").sigmoid().double()
        expected = -(truth * probability.log() + (1 - truth) * (1 - probability).log()).mean()
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_a_step_changes_all_but_the_outer_stages_and_their_statistics(network: U2NETP) -> None:
    learner = Learner(launch_fabric(replace(OPTIONS, recipe=FROZEN)), network, FROZEN)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}

    learner.freeze(2)
    learner.network.train()  # as it is after a validation
    learner.step(BATCH, 1e-2)

    moved = {name for name, value in learner.network.state_dict().items() if not torch.equal(value, before[name])}
    inner = {name for name in before if not name.startswith(OUTER)}
    assert moved == inner


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_frozen_stages_stay_in_spite_of_their_momentum_and_learn_afterwards(
    network: U2NETP, optimizer: OptimizerName
) -> None:
    recipe = replace(FROZEN, optimizer=optimizer)
    learner = Learner(launch_fabric(replace(OPTIONS, recipe=recipe)), network, recipe)
    states = []
    for frozen in (0, 2, 0):
        learner.freeze(frozen)
        learner.step(BATCH, 1e-2)
        states.append({name: value.clone() for name, value in learner.network.state_dict().items()})

    whole, inner, again = states
    for name, value in whole.items():
        assert torch.equal(inner[name], value) == name.startswith(OUTER), name
        assert not torch.equal(again[name], inner[name]), name


def test_a_frozen_training_logs_the_losses_of_the_inner_stages(scenes: Path, tmp_path: Path) -> None:
    save_weights(U2NETP(), tmp_path / "start.safetensors")
    options = replace(OPTIONS, recipe=FROZEN, epochs=1, init=tmp_path / "start.safetensors")

    result = train_network(scenes, tmp_path / "run", options)

    assert result.scores is not None
    start, end = (
        load_checkpoint(path).network.state_dict() for path in (tmp_path / "start.safetensors", result.weights)
    )
    assert torch.equal(end["stage2.rebnconvin.conv_s1.weight"], start["stage2.rebnconvin.conv_s1.weight"])
    assert not torch.equal(end["stage3.rebnconvin.conv_s1.weight"], start["stage3.rebnconvin.conv_s1.weight"])
    rows = [row for row in read_log(tmp_path / "run") if row.get("loss")]
    assert rows
    for row in rows:
        losses = {name: float(row[name]) for name in LOSS_NAMES if row.get(name)}
        assert list(losses) == ["loss3", "loss4", "loss5", "loss6"]
        assert sum(losses.values()) == pytest.approx(float(row["loss"]), rel=1e-4)


def test_stages_frozen_in_a_later_phase_need_no_weights(scenes: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, phases=(Phase(0.0, 32), Phase(0.4, 40, frozen=3), Phase(0.8, 48)))

    result = train_network(scenes, tmp_path, replace(OPTIONS, recipe=recipe))

    assert result.scores is not None
    rows = [row for row in read_log(tmp_path) if row.get("loss")]
    found = [[name for name in LOSS_NAMES if row.get(name)] for row in rows]
    assert found[0] == found[-1] == list(LOSS_NAMES)
    assert ["loss4", "loss5", "loss6"] in found


def test_freezing_untrained_stages_is_refused(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"frozen stages do not learn: give their weights with --init"):
        train_network(scenes, tmp_path, replace(OPTIONS, recipe=FROZEN))
