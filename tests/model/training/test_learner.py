"""One step of a training: micro-batches, moving average, and the same step shared by two processes."""

import logging
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.model.training.conftest import OPTIONS, RECIPE, Cramped
from u2net.model.loss import bce_fusion
from u2net.model.network import U2NETP
from u2net.model.training.batches import TrainBatch
from u2net.model.training.learner import Learner, MovingAverage, make_optimizer
from u2net.model.training.recipes import Recipe
from u2net.model.training.start import launch_fabric
from u2net.runtime.errors import InputError, TrainingError

STEP = Path(__file__).with_name("shared_step.py")


@pytest.fixture
def batch() -> TrainBatch:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 3, 32, 32, generator=generator), torch.rand(8, 1, 32, 32, generator=generator)


def make_learner(network: U2NETP, recipe: Recipe = RECIPE) -> Learner:
    return Learner(launch_fabric(replace(OPTIONS, recipe=recipe)), network, recipe)


def gradients(learner: Learner) -> dict[str, Tensor]:
    return {name: each.grad.clone() for name, each in learner.network.named_parameters() if each.grad is not None}


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert max(float(value.abs().max()) for value in expected.values()) > 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-4)


def test_the_gradients_are_those_of_the_seven_way_loss(network: U2NETP, batch: TrainBatch) -> None:
    learner = make_learner(network)
    learner.network.eval()
    terms = learner.gradients(batch)
    found = gradients(learner)

    learner.network.zero_grad()
    loss = bce_fusion(learner.network.logits(batch[0]), batch[1])
    loss.total.backward()  # type: ignore[no-untyped-call]

    torch.testing.assert_close(terms, loss.terms.detach())
    assert_near(found, gradients(learner))


@pytest.mark.parametrize("pieces", [2, 3, 4, 5])
def test_micro_batches_add_up_to_the_batch(network: U2NETP, batch: TrainBatch, pieces: int) -> None:
    learner = make_learner(network)
    learner.network.eval()  # batch norm would see another batch
    whole = learner.gradients(batch)
    expected = gradients(learner)

    learner.micro_batches = pieces
    terms = learner.gradients(batch)

    torch.testing.assert_close(terms, whole)
    assert_near(gradients(learner), expected)


def test_out_of_memory_doubles_the_micro_batches_and_says_so(
    network: U2NETP, batch: TrainBatch, cramped: Cramped, caplog: pytest.LogCaptureFixture
) -> None:
    learner = make_learner(network)

    with caplog.at_level(logging.WARNING, "u2net.training"):
        learner.step(batch, 1e-3)
        learner.step(batch, 1e-3)

    assert cramped.sizes == [8, 4, *[2] * 8]
    assert learner.micro_batches == 4
    assert [record.getMessage().partition(" from")[0] for record in caplog.records] == [
        f"out of memory: each batch of 8 is split into {pieces} micro-batches" for pieces in (2, 4)
    ]


def test_a_step_that_ran_out_of_memory_leaves_no_trace(network: U2NETP, batch: TrainBatch, cramped: Cramped) -> None:
    """The failed forward pass has changed the statistics of the layers that it reached."""
    learner, knowing = make_learner(network), make_learner(deepcopy(network))
    knowing.micro_batches = 4

    learner.step(batch, 1e-3)
    knowing.step(batch, 1e-3)

    assert cramped.sizes[:2] == [8, 4]
    others = knowing.network.state_dict()
    assert all(torch.equal(value, others[name]) for name, value in learner.network.state_dict().items())


@pytest.mark.parametrize(("pictures", "sizes"), [(12, [12, 6, 3, *[2] * 6]), (5, [5, 3, 2]), (10, [10, 5, 3, 3, 2, 2])])
def test_micro_batches_shrink_to_two_pictures(
    network: U2NETP, cramped: Cramped, pictures: int, sizes: list[int]
) -> None:
    cramped.room = 2 if pictures == 12 else 3

    make_learner(network).step((torch.randn(pictures, 3, 32, 32), torch.rand(pictures, 1, 32, 32)), 1e-3)

    assert cramped.sizes == sizes


def test_a_rehearsal_splits_but_learns_nothing(network: U2NETP, batch: TrainBatch, cramped: Cramped) -> None:
    learner = make_learner(network)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}

    learner.rehearse(batch)

    assert learner.micro_batches == 4
    assert cramped.sizes[-4:] == [2] * 4
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())
    assert all(each.grad is None for each in learner.network.parameters())


def test_too_little_memory_for_two_pictures_is_an_error(network: U2NETP, batch: TrainBatch, cramped: Cramped) -> None:
    cramped.room = 1

    with pytest.raises(TrainingError, match=r"2 pictures at once do not fit into the memory of cpu; .* --batch"):
        make_learner(network).step(batch, 1e-3)


def test_a_step_takes_the_given_learning_rate(network: U2NETP, batch: TrainBatch) -> None:
    learner = make_learner(network)
    before = {name: value.detach().clone() for name, value in learner.network.named_parameters()}

    learner.step(batch, 0.0)
    assert all(torch.equal(value, before[name]) for name, value in learner.network.named_parameters())

    learner.step(batch, 1e-2)
    moved = [float((value.detach() - before[name]).abs().max()) for name, value in learner.network.named_parameters()]
    assert 5e-3 < max(moved) < 2e-2


def test_only_parameters_of_several_dimensions_decay(network: U2NETP) -> None:
    optimizer = make_optimizer(network, replace(RECIPE, optimizer="adamw", weight_decay=0.1))

    decays = {id(each): group["weight_decay"] for group in optimizer.param_groups for each in group["params"]}
    assert decays == {id(each): 0.1 if each.ndim > 1 else 0.0 for each in network.parameters()}
    assert isinstance(optimizer, torch.optim.AdamW)


def test_the_average_is_the_result(network: U2NETP, batch: TrainBatch) -> None:
    learner = make_learner(network, replace(RECIPE, ema=0.9))
    for _ in range(3):
        learner.step(batch, 0.05)

    assert not learner.best.training
    for name in ("outconv.weight", "stage1.rebnconvin.bn_s1.running_mean"):
        assert not torch.equal(learner.best.state_dict()[name], learner.network.state_dict()[name])


def test_the_average_is_the_exponential_one() -> None:
    network = U2NETP()
    average = MovingAverage(network, 0.5)
    expected = 0.0
    for update in range(12):
        with torch.no_grad():
            network.outconv.weight.fill_(float(update))
        average.update(network)
        decay = min(0.5, update / (9 + update))
        expected = decay * expected + (1 - decay) * update

        kept = average.network.state_dict()["outconv.weight"]
        assert float(kept.mean()) == pytest.approx(expected, rel=1e-5)


def run_step(folder: Path, *launcher: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return losses and gradients of one step, as one or several processes wrote them."""
    folder.mkdir()
    command = [sys.executable, *launcher, str(STEP), str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    written = [torch.load(path, weights_only=True) for path in sorted(folder.glob("*.pt"))]
    for other in written[1:]:
        for name, value in other["gradients"].items():
            assert torch.equal(value, written[0]["gradients"][name])
    return torch.stack([each["terms"] for each in written]).mean(0), written[0]["gradients"]


def test_torchrun_decides_how_many_processes_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is what torchrun gives each of three processes."""
    for name, value in (("TORCHELASTIC_RUN_ID", "none"), ("LOCAL_WORLD_SIZE", "3"), ("WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)

    with pytest.raises(InputError, match="a batch of 8 cannot be shared by 3 devices"):
        launch_fabric(replace(OPTIONS, recipe=replace(RECIPE, batch=8)))


def test_two_processes_of_torchrun_give_the_loss_and_gradients_of_one(tmp_path: Path) -> None:
    one_terms, one = run_step(tmp_path / "one")

    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two_terms, two = run_step(tmp_path / "two", *torchrun)

    assert len(list((tmp_path / "two").glob("*.pt"))) == 2
    parameters = sum(1 for _ in U2NETP().parameters())
    assert 2 * parameters < len(one) < 3 * parameters  # whole, inner stages, and whole again
    torch.testing.assert_close(two_terms, one_terms, atol=1e-6, rtol=1e-5)
    assert_near(two, one)
