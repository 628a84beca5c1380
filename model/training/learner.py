"""One step of a training: loss, gradients in pieces that fit into memory, optimizer, moving average."""

import logging
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from u2net.model.loss import bce_fusion
from u2net.model.network import U2Net
from u2net.model.training.average import MovingAverage
from u2net.model.training.batches import Batch
from u2net.model.training.inner import freeze_outer, inner_losses
from u2net.model.training.muon import Muon
from u2net.model.training.recipes import Recipe
from u2net.runtime.errors import TrainingError

log = logging.getLogger("u2net.training")


class Supervised(nn.Module):
    """A network with its loss, so that both are compiled, distributed and autocast as one."""

    def __init__(self, network: U2Net, frozen: int) -> None:
        super().__init__()
        self.network = network
        self.frozen = frozen

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """The losses whose sum is minimised: seven, or those of the stages that learn."""
        if self.frozen:
            return inner_losses(self.network, images, masks, self.frozen)
        return bce_fusion(self.network.logits(images), masks).terms


class Learner:
    """A network, its optimizer and its moving average on one device."""

    def __init__(self, fabric: Fabric, network: U2Net, recipe: Recipe) -> None:
        self._fabric = fabric
        self.network = network.train().to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = cast("Optimizer", fabric.setup_optimizers(make_optimizer(self.network, recipe)))
        self._compiled = recipe.compiled
        self.freeze(0)
        self.average = None if recipe.ema is None else MovingAverage(self.network, recipe.ema)
        self.pieces = 1
        """So many parts a batch is taken in; more after the memory was too small."""
        self._fitting: set[tuple[torch.Size, int]] = set()

    @property
    def best(self) -> U2Net:
        """The network to keep: the moving average where there is one."""
        return self.network if self.average is None else self.average.network

    def freeze(self, count: int) -> None:
        """Learn inside of so many outer stages from here on; those stay as they are."""
        self.frozen = count
        self._still = freeze_outer(self.network, count)
        supervised: nn.Module = Supervised(self.network, count)
        if self._compiled:
            supervised = torch.compile(supervised)  # type: ignore[assignment]
        # Anew, because between processes it waits for the gradients of what could learn when it was set up.
        self._supervised = self._fabric.setup_module(supervised)

    def step(self, batch: Batch, learning_rate: float) -> Tensor:
        """Learn from a batch; its losses before it, float32 on the device.

        Raises:
            TrainingError: even two pictures do not fit into the memory.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        terms = self._gradients_in_memory(batch)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.network)
        return terms

    def precision_state(self) -> dict[str, Any]:
        """What mixed precision remembers: the loss scale of FP16, nothing of the others."""
        return dict(self._fabric.strategy.precision.state_dict())

    def load_precision_state(self, state: dict[str, Any]) -> None:
        """Put that back."""
        self._fabric.strategy.precision.load_state_dict(state)

    def rehearse(self, batch: Batch) -> None:
        """Compile for batches of that shape, and find the pieces that fit into the memory; learns nothing."""
        statistics = self._statistics()
        self._gradients_in_memory(batch)
        self.optimizer.zero_grad()
        self._restore(statistics)

    def gradients(self, batch: Batch) -> Tensor:
        """Leave the gradients of a batch in the parameters; its losses, float32 on the device."""
        self.optimizer.zero_grad()
        for part in self._still:
            part.eval()  # nor do their batch norms take statistics
        images, masks = (tensor.tensor_split(self.pieces) for tensor in batch)
        terms: list[Tensor] = []
        for some, truth in zip(images, masks, strict=True):
            share = len(some) / len(batch[0])
            losses = self._supervised(some, truth)
            self._fabric.backward(losses.sum() * share)
            terms.append(losses.detach() * share)
        return torch.stack(terms).sum(0)

    def _gradients_in_memory(self, batch: Batch) -> Tensor:
        load = (batch[0].shape, self.frozen)
        statistics = None if load in self._fitting else self._statistics()
        while (terms := self._try_gradients(batch)) is None:
            if statistics is not None:
                self._restore(statistics)  # of the layers that the batch came through
            self._split(len(batch[0]))
        self._fitting.add(load)
        return terms

    def _statistics(self) -> list[Tensor]:
        return [value.clone() for value in self.network.buffers()]

    def _restore(self, statistics: list[Tensor]) -> None:
        for value, before in zip(self.network.buffers(), statistics, strict=True):
            value.copy_(before)

    def _try_gradients(self, batch: Batch) -> Tensor | None:
        try:
            return self.gradients(batch)
        except torch.OutOfMemoryError:
            return None  # what the error holds on to must be gone before the next try

    def _split(self, batch: int) -> None:
        self.optimizer.zero_grad()
        torch.cuda.empty_cache()
        most = batch // 2  # batch norm cannot learn from one picture
        if self._fabric.world_size > 1 or self.pieces >= most:
            raise TrainingError(
                f"{batch // self.pieces} pictures at once do not fit into the memory of {self._fabric.device}; "
                "give a smaller --batch or --size"
            )
        self.pieces = min(2 * self.pieces, most)
        log.warning(
            "out of memory: each batch of %d is taken in %d pieces from here on; batch norm sees a piece at a time",
            batch,
            self.pieces,
        )


def make_optimizer(network: U2Net, recipe: Recipe) -> Optimizer:
    """The optimizer that the recipe says; what has one dimension, batch norm and biases, does not decay."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "muon":
        return Muon(groups, lr=recipe.learning_rate)
    kind: type[Adam] = {"adam": Adam, "adamw": AdamW}[recipe.optimizer]
    return kind(groups, lr=recipe.learning_rate, fused=True)
