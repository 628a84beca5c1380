"""Muon's step: orthogonalised between hidden channels, AdamW's elsewhere."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from u2net.model.network import U2NETP
from u2net.model.training.muon import MOMENTUM, Muon, orthogonalize


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def of_a_step(shape: tuple[int, ...], gradient: Tensor, *, lr: float = 0.01, decay: float = 0.0) -> Tensor:
    """Return the weights after one step that starts from ones."""
    weight = nn.Parameter(torch.ones(shape))
    weight.grad = gradient.clone()
    Muon([{"params": [weight], "weight_decay": decay}], lr=lr).step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(3, 16, 144), (2, 64, 32), (1, 24, 24)])
def test_orthogonalising_keeps_directions_and_drops_lengths(shape: tuple[int, ...]) -> None:
    matrices = draw(*shape) * torch.logspace(-2, 2, shape[0])[:, None, None]

    near = orthogonalize(matrices)

    values = torch.linalg.svdvals(near)
    assert 0.5 < float(values.min()) < float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    along = (left.mT @ near @ right.mT).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(along, values.new_tensor(1.0).expand_as(along), atol=0.35, rtol=0)


@pytest.mark.parametrize("shape", [(16, 16, 3, 3), (64, 16, 3, 3), (16, 64, 1, 1)])
def test_a_step_has_a_fifth_of_the_rate_whatever_the_gradient(shape: tuple[int, ...]) -> None:
    """AdamW's steps usually have this length, too."""
    moved = 1 - of_a_step(shape, 1e4 * draw(*shape))

    assert 0.001 < float(moved.square().mean().sqrt()) < 0.003
    assert float((moved * draw(*shape)).sum()) > 0


@pytest.mark.parametrize("shape", [(64,), (64, 3, 3, 3), (1, 64, 3, 3), (1, 6, 1, 1)])
def test_other_parameters_take_the_step_of_adamw(shape: tuple[int, ...]) -> None:
    gradient = draw(*shape)
    expected = nn.Parameter(torch.ones(shape))
    expected.grad = gradient.clone()
    AdamW([expected], lr=0.01, weight_decay=0.1).step()

    assert torch.equal(of_a_step(shape, gradient, decay=0.1), expected)


def test_hidden_weights_decay_as_much_as_others() -> None:
    still = torch.zeros(16, 16, 3, 3)

    torch.testing.assert_close(of_a_step((16, 16, 3, 3), still, lr=0.1, decay=0.5), still + 0.95)


def test_momentum_continues_without_a_gradient() -> None:
    weight = nn.Parameter(torch.zeros(16, 16))
    optimizer = Muon([{"params": [weight], "weight_decay": 0.0}], lr=0.01)
    weight.grad = torch.eye(16)
    optimizer.step()
    once = weight.detach().clone()
    weight.grad = torch.zeros(16, 16)
    optimizer.step()

    assert float(optimizer.state[weight]["momentum"][0, 0]) == pytest.approx(MOMENTUM * (1 - MOMENTUM))
    torch.testing.assert_close(weight.detach(), 2 * once)


def test_every_weight_of_the_network_learns() -> None:
    torch.manual_seed(1)
    network = U2NETP()
    before = deepcopy(network.state_dict())
    sum(each.mean() for each in network.logits(draw(2, 3, 32, 32))).backward()  # type: ignore[union-attr]

    Muon([{"params": network.parameters(), "weight_decay": 0.0}], lr=0.01).step()

    weights = {name: each for name, each in network.named_parameters() if name.endswith("weight")}
    assert weights
    assert not [name for name, each in weights.items() if torch.equal(each, before[name])]
