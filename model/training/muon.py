"""Muon: an optimizer that steps along the orthogonalised momentum of a layer, not weight by weight."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration: Jordan, "Muon: An optimizer for hidden layers in neural networks" (2024)."""
ITERATIONS = 5
MATCH = 0.2
"""Factor that gives steps the length of AdamW's, so that one learning rate serves both (Liu et al., "Muon is Scalable",
2025)."""
NARROWEST = 16
"""Smallest number of input or output channels of a hidden layer; with fewer there is little to orthogonalise."""


class Muon(AdamW):
    """Muon for the convolutions between hidden channels, AdamW for all other parameters.

    ``torch.optim.Muon`` does not take convolutions, and computes in BF16: on a processor without BF16 one step of the
    full network took two minutes.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__([part for group in groups for part in _split_group(group)], lr=lr)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # without a closure, which nothing here gives
        """Take a step; it clears the gradients of the hidden layers."""
        for group in self.param_groups:
            if group["hidden"]:
                self._step_hidden(group)
        super().step()

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
                weight.grad = None  # AdamW skips weights without a gradient

    def _direction(self, weight: nn.Parameter) -> Tensor:
        """Return the Nesterov momentum as a matrix with one row for each output channel."""
        state = self.state[weight]
        if "momentum" not in state:
            state.update(step=torch.tensor(0.0), momentum=torch.zeros_like(weight))  # AdamW reads each step
        state["step"] += 1
        gradient: Tensor = weight.grad  # type: ignore[assignment]
        momentum: Tensor = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM).flatten(1)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring the singular values of each matrix, float N×rows×columns, near 1 (0.7 to 1.2)."""
    tall = matrices.shape[1] > matrices.shape[2]
    near: Tensor = matrices.mT if tall else matrices
    near = near / near.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = near @ near.mT
        near = linear * near + (cubic * gram + quintic * gram @ gram) @ near
    return near.mT if tall else near


def _split_group(group: dict[str, Any]) -> list[dict[str, Any]]:
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in group["params"]:
        parts[parameter.ndim > 1 and min(parameter.shape[:2]) >= NARROWEST].append(parameter)
    return [{**group, "params": some, "hidden": hidden} for hidden, some in parts.items() if some]
