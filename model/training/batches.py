"""Batches as a function of seed and step alone, so that a training can be resumed exactly."""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from u2net.model.training.augmentation import find_augmentation
from u2net.model.training.decoded_pairs import DecodedPairs
from u2net.model.training.recipes import Recipe
from u2net.runtime.presets import PRESETS

TrainBatch = tuple[Tensor, Tensor]
"""Images, float32 N×3×S×S, normalised, and masks, float32 N×1×S×S in [0, 1]."""


@dataclass(frozen=True)
class Batches:
    """The batches that one process of a training sees."""

    pairs: DecodedPairs
    recipe: Recipe
    seed: int
    device: torch.device
    rank: int = 0
    world: int = 1
    """Number of processes that share each batch."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole batches in the pictures; an epoch leaves out the rest."""
        return len(self.pairs) // self.recipe.batch

    def draw(self, step: int) -> Tensor:
        """Return this process's picture indices of a step; an epoch repeats none."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _shuffle(len(self.pairs), self.seed, epoch)
        batch = self.recipe.batch
        return order[place * batch : (place + 1) * batch][self.rank :: self.world]

    def make(self, step: int, crop: int) -> TrainBatch:
        """Return the batch of a step at this crop size, prepared as the ``reference`` preset does."""
        images, masks = self.pairs.take(self.draw(step), self.device)
        side = self.recipe.side_of(crop)
        if side != images.shape[-1]:
            images, masks = (
                F.interpolate(each, (side, side), mode="bilinear", align_corners=False, antialias=True)
                for each in (images, masks)
            )
        torch.manual_seed(_mix(self.seed, step, self.rank))
        images, masks = find_augmentation(self.recipe.augmentation, crop)(images, masks)
        return normalize_batch(images).contiguous(memory_format=torch.channels_last), masks.contiguous()


def normalize_batch(images: Tensor) -> Tensor:
    """Normalise each image of a batch, float32 N×3×H×W in [0, 1], as the ``reference`` preset does."""
    largest = images.amax((1, 2, 3), keepdim=True).clamp_min(1 / 255)
    mean, std = _statistics_on(images.device)
    return (images / largest - mean) / std


@lru_cache
def _statistics_on(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and std; cached, because creating them makes the host wait for the device."""
    preset = PRESETS["reference"]
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (preset.mean, preset.std))
    return mean, std


@lru_cache(maxsize=1)
def _shuffle(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(_mix(seed, epoch, -1)))


def _mix(*numbers: int) -> int:
    """Hash several integers into one seed."""
    return hash(numbers) & 0x7FFF_FFFF_FFFF_FFFF
