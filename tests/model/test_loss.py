import pytest
import torch
from torch import Tensor

from u2net.model.loss import bce_fusion
from u2net.model.network import OUTPUT_NAMES
from u2net.runtime.errors import InputError


def maps(count: int = 7, shape: tuple[int, ...] = (2, 1, 5, 6), scale: float = 2.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).mul(scale).requires_grad_() for _ in range(count)]


def target(shape: tuple[int, ...] = (2, 1, 5, 6)) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.5).float()


def naive_bce(logits: Tensor, truth: Tensor) -> float:
    """Return the binary cross-entropy by its definition, in double precision."""
    probability = 1 / (1 + torch.exp(-logits.detach().double()))
    truth = truth.double()
    return float(-(truth * torch.log(probability) + (1 - truth) * torch.log(1 - probability)).mean())


def test_the_terms_are_seven_cross_entropies_and_the_total_their_sum() -> None:
    outputs, truth = maps(), target()

    loss = bce_fusion(outputs, truth)

    assert loss.terms.tolist() == pytest.approx([naive_bce(output, truth) for output in outputs], rel=1e-5)
    assert loss.fused.item() == loss.terms[0].item()
    assert loss.total.item() == pytest.approx(sum(loss.terms.tolist()), rel=1e-6)


def test_the_gradient_is_probability_less_truth() -> None:
    outputs, truth = maps(), target()

    bce_fusion(outputs, truth).total.backward()  # type: ignore[no-untyped-call]

    for output in outputs:
        assert output.grad is not None
        torch.testing.assert_close(output.grad, (torch.sigmoid(output.detach()) - truth) / truth.numel())


@pytest.mark.parametrize("logit", [1e4, -1e4])
@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_saturated_logits_stay_finite(logit: float, truth: float) -> None:
    outputs = [torch.full((1, 1, 4, 4), logit, requires_grad=True) for _ in range(7)]

    loss = bce_fusion(outputs, torch.full((1, 1, 4, 4), truth))
    loss.total.backward()  # type: ignore[no-untyped-call]

    wrong = (logit > 0) != (truth > 0.5)
    assert loss.terms.tolist() == pytest.approx([1e4 if wrong else 0.0] * 7)
    for output in outputs:
        assert output.grad is not None
        assert output.grad.abs().sum().item() == pytest.approx(1.0 if wrong else 0.0)


@pytest.mark.parametrize("scale", [2.0, 1e4])
def test_autocast_changes_nothing(scale: float) -> None:
    outputs = [output.detach().bfloat16().requires_grad_() for output in maps(scale=scale)]
    outside = bce_fusion([output.float() for output in outputs], target())

    with torch.autocast("cpu", torch.bfloat16):
        inside = bce_fusion(outputs, target())
    inside.total.backward()  # type: ignore[no-untyped-call]

    assert inside.terms.dtype == torch.float32
    assert torch.equal(inside.terms, outside.terms)
    assert torch.isfinite(inside.total)
    assert all(output.grad is not None and torch.isfinite(output.grad).all() for output in outputs)


@pytest.mark.parametrize("count", [0, 1, 6, 8])
def test_another_number_of_maps_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"7 maps d0…d6; got {count}"):
        bce_fusion(maps(count), target())


@pytest.mark.parametrize("shape", [(2, 1, 5, 5), (1, 1, 5, 6), (2, 4, 5, 6), (2, 5, 6)])
@pytest.mark.parametrize("index", [0, 6])
def test_a_map_of_another_shape_is_named(shape: tuple[int, ...], index: int) -> None:
    outputs = maps()
    outputs[index] = torch.zeros(shape)

    with pytest.raises(InputError, match=f"{OUTPUT_NAMES[index]} has shape") as caught:
        bce_fusion(outputs, target())
    assert str(shape) in str(caught.value)
