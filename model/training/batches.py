"""Which pictures a step sees, and how: a function of seed and step alone, so that a training can be resumed exactly."""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from u2net.model.dataset import REFERENCE
from u2net.model.training.augmentation import find_augmentation
from u2net.model.training.pictures import Pictures
from u2net.model.training.recipes import Recipe

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Batches:
    """The batches of one training, for one of its processes."""

    pictures: Pictures
    recipe: Recipe
    seed: int
    device: torch.device
    rank: int = 0
    world: int = 1
    """How many processes share each batch."""

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the pictures; the rest of each epoch's order is left out."""
        return len(self.pictures) // self.recipe.batch

    def draw(self, step: int) -> Tensor:
        """Numbers of the pictures of a step, those of this process: each is seen once before any is seen again."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _shuffle(len(self.pictures), self.seed, epoch)
        batch = self.recipe.batch
        return order[place * batch : (place + 1) * batch][self.rank :: self.world]

    def make(self, step: int, crop: int) -> Batch:
        """A step's images, float32 N×3×crop×crop as the ``reference`` preset prepares them, and masks in [0, 1]."""
        images, masks = self.pictures.take(self.draw(step), self.device)
        side = self.recipe.side_of(crop)
        if side != images.shape[-1]:
            images, masks = (_shrink(each, side) for each in (images, masks))
        torch.manual_seed(_mix(self.seed, step, self.rank))
        images, masks = find_augmentation(self.recipe.augmentation, crop)(images, masks)
        return normalize_batch(images).contiguous(memory_format=torch.channels_last), masks.contiguous()


def normalize_batch(images: Tensor) -> Tensor:
    """What the ``reference`` preset does to one picture, to each of a batch: float32 N×3×H×W in [0, 1]."""
    largest = images.amax((1, 2, 3), keepdim=True).clamp_min(1 / 255)
    mean, std = _statistics_on(images.device)
    return (images / largest - mean) / std


@lru_cache
def _statistics_on(device: torch.device) -> tuple[Tensor, Tensor]:
    """Made once for a device: each making would wait for it."""
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (REFERENCE.mean, REFERENCE.std))
    return mean, std


def _shrink(images: Tensor, side: int) -> Tensor:
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)


@lru_cache(maxsize=1)
def _shuffle(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(_mix(seed, epoch, -1)))


def _mix(*numbers: int) -> int:
    """One seed of several numbers, another for every other row of them."""
    return hash(numbers) & 0x7FFF_FFFF_FFFF_FFFF
