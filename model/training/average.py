"""The moving average of a network that learns."""

from copy import deepcopy

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from u2net.model.network import U2Net


class MovingAverage:
    """Exponential moving average of weights and batch-norm statistics; young, it forgets faster than its decay says.

    The arithmetic is torch's. Its ``AveragedModel`` is not used, because its counter makes the host wait for the GPU
    at each update.
    """

    def __init__(self, network: U2Net, decay: float) -> None:
        self.network = deepcopy(network).eval()
        self.updates = 0
        self._decay = decay

    def update(self, network: U2Net) -> None:
        """Take in what the network has become; the first time, nothing else remains."""
        decay = min(self._decay, self.updates / (9 + self.updates))
        (averages, counts), (values, newer) = _floats_and_counts(self.network), _floats_and_counts(network)
        get_ema_multi_avg_fn(decay)(averages, values, self.updates)  # type: ignore[no-untyped-call]
        torch._foreach_copy_(counts, newer)
        self.updates += 1


def _floats_and_counts(network: U2Net) -> tuple[list[Tensor], list[Tensor]]:
    values = [value.detach() for value in (*network.parameters(), *network.buffers())]
    floats = [value for value in values if value.is_floating_point()]
    return floats, [value for value in values if not value.is_floating_point()]
