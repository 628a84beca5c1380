"""All pictures of a training, decoded once: decoding them again takes longer than a GPU takes to learn from them."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from u2net.model.dataset import Pair, check_levels, read_pair
from u2net.runtime.errors import InputError

GPU_SHARE = 0.5
"""Largest share of a GPU's free memory that the pictures may take; larger sets stay in main memory."""


@dataclass(frozen=True)
class DecodedPairs:
    """Photographs and masks of one size in memory."""

    images: Tensor
    """uint8, N×3×S×S, RGB."""
    masks: Tensor
    """uint8, N×1×S×S."""

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the images and masks of these indices on a device, float32 in [0, 1]."""
        near = self.images.device
        here = indices.pin_memory().to(near, non_blocking=True) if near.type == "cuda" else indices
        return self.images[here].to(device).float() / 255, self.masks[here].to(device).float() / 255

    def check(self) -> None:
        """Raise DatasetError where no mask has an object, or none a background."""
        check_levels(int(self.masks.min()), int(self.masks.max()))

    def near(self, device: torch.device) -> "DecodedPairs":
        """Return a copy in the memory of the device, or ``self`` where it does not fit."""
        if device.type != "cuda":
            return self
        free, _ = torch.cuda.mem_get_info(device)
        if self.images.nbytes + self.masks.nbytes > GPU_SHARE * free:
            return self
        return DecodedPairs(self.images.to(device), self.masks.to(device))


def decode_pairs(
    pairs: Sequence[Pair], size: int, report: Callable[[float], None] = lambda _share: None
) -> DecodedPairs:
    """Read all pairs, each stretched to size × size pixels, on one thread per processor core.

    Raises:
        DatasetError: a file is no picture, is damaged, or image and mask of a pair differ in size.
        InputError: the pictures do not fit into memory.
    """
    images, masks = (_allocate(len(pairs), channels, size) for channels in (3, 1))

    def read(index: int) -> None:
        image, mask = read_pair(pairs[index], size)
        images[index] = torch.from_numpy(np.array(image).transpose(2, 0, 1))
        masks[index, 0] = torch.from_numpy(np.array(mask))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(read, range(len(pairs))), 1):
            report(done / len(pairs))
    return DecodedPairs(images, masks)


def _allocate(count: int, channels: int, size: int) -> Tensor:
    try:
        return torch.empty(count, channels, size, size, dtype=torch.uint8)
    except RuntimeError as error:
        needed = count * channels * size * size / 1e9
        raise InputError(
            f"{count} pictures of {size}×{size} px take {needed:.1f} GB of memory; give a smaller --size"
        ) from error
