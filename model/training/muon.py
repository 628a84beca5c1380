"""Muon: steps along the orthogonalised momentum of a layer's weights, instead of weight by weight."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration in Jordan's "Muon: An optimizer for hidden layers in neural networks" (2024)."""
ITERATIONS = 5
MATCH = 0.2
"""Makes a step as long as AdamW's, so that one learning rate serves both (Liu et al., "Muon is Scalable", 2025)."""
NARROWEST = 16
"""Channels on either side of a layer, at least: there is little to orthogonalise in fewer."""


class Muon(AdamW):
    """Muon for the convolutions between hidden channels, AdamW for all other parameters.

    ``torch.optim.Muon`` knows no convolutions, and computes in BF16: on a processor without BF16 one step of the full
    network took it two minutes.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__([part for group in groups for part in _parted(group)], lr=lr)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; gradients of the hidden layers are used up."""
        loss = None if closure is None else torch.enable_grad()(closure)()  # makes the gradients that both steps take
        for group in self.param_groups:
            if group["hidden"]:
                self._step_hidden(group)
        super().step()
        return loss

    def _step_hidden(self, group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for weight in group["params"]:
            if weight.grad is not None:
                alike[weight.shape].append(weight)
        for weights in alike.values():
            directions = orthogonalize(torch.stack([self._direction(weight) for weight in weights]))
            length = group["lr"] * MATCH * max(directions.shape[1:]) ** 0.5
            for weight, direction in zip(weights, directions, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(direction.view(weight.shape), alpha=length)
                weight.grad = None  # AdamW passes over what has no gradient

    def _direction(self, weight: nn.Parameter) -> Tensor:
        """Nesterov's look ahead along the averaged gradient, a row for each channel that the layer gives."""
        state = self.state[weight]
        if "momentum" not in state:
            state.update(step=torch.tensor(0.0), momentum=torch.zeros_like(weight))  # AdamW reads every state's step
        state["step"] += 1
        gradient: Tensor = weight.grad  # type: ignore[assignment]
        momentum: Tensor = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM).flatten(1)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring the singular values of each of N matrices near 1 (0.7 to 1.2): float N×rows×columns."""
    tall = matrices.shape[1] > matrices.shape[2]
    near: Tensor = matrices.mT if tall else matrices
    near = near / near.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = near @ near.mT
        near = linear * near + (cubic * gram + quintic * gram @ gram) @ near
    return near.mT if tall else near


def _parted(group: dict[str, Any]) -> list[dict[str, Any]]:
    """A group of parameters as one of hidden layers and one of the others."""
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in group["params"]:
        parts[parameter.ndim > 1 and min(parameter.shape[:2]) >= NARROWEST].append(parameter)
    return [{**group, "params": some, "hidden": hidden} for hidden, some in parts.items() if some]
