"""One step of a training: loss, gradients in micro-batches that fit into memory, optimizer, moving average."""

import logging
from contextlib import suppress
from copy import deepcopy
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from u2net.model.loss import bce_fusion
from u2net.model.network import U2Net
from u2net.model.training.batches import TrainBatch
from u2net.model.training.inner import freeze_outer, inner_losses
from u2net.model.training.muon import Muon
from u2net.model.training.recipes import Recipe
from u2net.runtime.errors import TrainingError

_logger = logging.getLogger("u2net.training")


class Supervised(nn.Module):
    """A network with its loss, so that both are compiled, distributed and autocast together."""

    def __init__(self, network: U2Net, frozen: int) -> None:
        super().__init__()
        self.network = network
        self.frozen = frozen

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return the losses whose sum is minimised: seven, or those of the stages that learn."""
        if self.frozen:
            return inner_losses(self.network, images, masks, self.frozen)
        return bce_fusion(self.network.logits(images), masks).terms


class Learner:
    """A network, its optimizer and its moving average on one device."""

    def __init__(self, fabric: Fabric, network: U2Net, recipe: Recipe) -> None:
        self.fabric = fabric
        self.network = network.train().to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = cast("Optimizer", fabric.setup_optimizers(make_optimizer(self.network, recipe)))
        self._compiled = recipe.compiled
        self.freeze(0)
        self.average = None if recipe.ema is None else MovingAverage(self.network, recipe.ema)
        self.micro_batches = 1
        """Number of micro-batches per step; doubled after an out-of-memory error."""
        self._fitting: set[tuple[torch.Size, int]] = set()

    @property
    def best(self) -> U2Net:
        """The result of the training so far: the moving average if there is one."""
        return self.network if self.average is None else self.average.network

    def freeze(self, count: int) -> None:
        """Freeze this number of outer stages from now on; 0 lets the whole network learn."""
        self.frozen = count
        self._frozen_parts = freeze_outer(self.network, count)
        supervised: nn.Module = Supervised(self.network, count)
        if self._compiled:
            supervised = torch.compile(supervised)  # type: ignore[assignment]
        # Set up again, because DDP waits for the gradients of the parameters that could learn when it was set up.
        self._supervised = self.fabric.setup_module(supervised)

    def step(self, batch: TrainBatch, learning_rate: float) -> Tensor:
        """Learn from a batch; return its losses before the step, float32 on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        terms = self._gradients_in_memory(batch)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.network)
        return terms

    def rehearse(self, batch: TrainBatch) -> None:
        """Compile for batches of this shape and find the micro-batches that fit into memory, without learning."""
        statistics = self._statistics()
        self._gradients_in_memory(batch)
        self.optimizer.zero_grad()
        self._restore(statistics)

    def gradients(self, batch: TrainBatch) -> Tensor:
        """Leave the gradients of a batch in the parameters; return its losses, float32 on the device."""
        self.optimizer.zero_grad()
        for part in self._frozen_parts:
            part.eval()  # so that their batch norms keep their statistics
        images, masks = (tensor.tensor_split(self.micro_batches) for tensor in batch)
        terms: list[Tensor] = []
        for some, truth in zip(images, masks, strict=True):
            share = len(some) / len(batch[0])
            losses = self._supervised(some, truth)
            self.fabric.backward(losses.sum() * share)
            terms.append(losses.detach() * share)
        return torch.stack(terms).sum(0)

    def _gradients_in_memory(self, batch: TrainBatch) -> Tensor:
        load = (batch[0].shape, self.frozen)
        statistics = [] if load in self._fitting else self._statistics()
        while True:
            with suppress(torch.OutOfMemoryError):  # leaving the block drops the error, which keeps tensors alive
                terms = self.gradients(batch)
                self._fitting.add(load)
                return terms
            if statistics:
                self._restore(statistics)  # the failed forward pass changed those of the layers that it reached
            self._split(len(batch[0]))

    def _statistics(self) -> list[Tensor]:
        return [value.clone() for value in self.network.buffers()]

    def _restore(self, statistics: list[Tensor]) -> None:
        for value, before in zip(self.network.buffers(), statistics, strict=True):
            value.copy_(before)

    def _split(self, batch: int) -> None:
        self.optimizer.zero_grad()
        torch.cuda.empty_cache()
        most = batch // 2  # batch norm cannot learn from one picture
        if self.fabric.world_size > 1 or self.micro_batches >= most:
            raise TrainingError(
                f"{batch // self.micro_batches} pictures at once do not fit into the memory of {self.fabric.device}; "
                "give a smaller --batch or --size"
            )
        self.micro_batches = min(2 * self.micro_batches, most)
        _logger.warning(
            "out of memory: each batch of %d is split into %d micro-batches from now on, each with its own batch norm",
            batch,
            self.micro_batches,
        )


class MovingAverage:
    """Exponential moving average of weights and batch-norm statistics, with a smaller decay during the first updates.

    The arithmetic is torch's. Its ``AveragedModel`` is not used because its counter makes the host wait for the GPU at
    each update.
    """

    def __init__(self, network: U2Net, decay: float) -> None:
        self.network = deepcopy(network).eval()
        self.updates = 0
        self._decay = decay

    def update(self, network: U2Net) -> None:
        """Add the present network to the average; the first update replaces it."""
        decay = min(self._decay, self.updates / (9 + self.updates))
        (averages, counts), (values, newer) = _floats_and_counts(self.network), _floats_and_counts(network)
        get_ema_multi_avg_fn(decay)(averages, values, self.updates)  # type: ignore[no-untyped-call]
        torch._foreach_copy_(counts, newer)
        self.updates += 1


def _floats_and_counts(network: U2Net) -> tuple[list[Tensor], list[Tensor]]:
    values = [value.detach() for value in (*network.parameters(), *network.buffers())]
    floats = [value for value in values if value.is_floating_point()]
    return floats, [value for value in values if not value.is_floating_point()]


def make_optimizer(network: U2Net, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimizer; parameters of one dimension, batch norm and biases, do not decay."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "muon":
        return Muon(groups, lr=recipe.learning_rate)
    kind: type[Adam] = {"adam": Adam, "adamw": AdamW}[recipe.optimizer]
    return kind(groups, lr=recipe.learning_rate, fused=True)
