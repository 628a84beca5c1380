"""All pictures of a training, decoded once: reading them again each time takes longer than a GPU takes to learn."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from u2net.model.dataset import NO_OBJECT, WHITE, Pair, read_pair
from u2net.runtime.errors import DatasetError, InputError

GPU_SHARE = 0.5
"""Of a GPU's free memory, what pictures may take; with more they stay in main memory."""


@dataclass(frozen=True)
class Pictures:
    """Photographs and masks of one size."""

    images: Tensor
    """uint8, N×3×S×S, RGB."""
    masks: Tensor
    """uint8, N×1×S×S."""

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Some of them on a device, float32 in [0, 1]."""
        near = self.images.device
        here = indices.pin_memory().to(near, non_blocking=True) if near.type == "cuda" else indices
        return self.images[here].to(device).float() / 255, self.masks[here].to(device).float() / 255

    def check(self) -> None:
        """Raise DatasetError where no mask has an object."""
        if self.masks.max() < WHITE:
            raise DatasetError(NO_OBJECT)

    def near(self, device: torch.device) -> "Pictures":
        """The same in the memory of the device, where they fit."""
        if device.type != "cuda":
            return self
        free, _ = torch.cuda.mem_get_info(device)
        if self.images.nbytes + self.masks.nbytes > GPU_SHARE * free:
            return self
        return Pictures(self.images.to(device), self.masks.to(device))


def decode_pictures(
    pairs: Sequence[Pair], size: int, report: Callable[[float], None] = lambda _share: None
) -> Pictures:
    """Read all pairs, each stretched to size × size pixels, on as many threads as there are processors.

    Raises:
        DatasetError: a file is no picture, is damaged, or the sizes of a pair differ.
        InputError: they do not fit into memory.
    """
    images, masks = (_allocate(len(pairs), channels, size) for channels in (3, 1))

    def read(index: int) -> None:
        image, mask = read_pair(pairs[index], size)
        images[index] = torch.from_numpy(np.array(image).transpose(2, 0, 1))
        masks[index, 0] = torch.from_numpy(np.array(mask))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(read, range(len(pairs))), 1):
            report(done / len(pairs))
    return Pictures(images, masks)


def _allocate(count: int, channels: int, size: int) -> Tensor:
    try:
        return torch.empty(count, channels, size, size, dtype=torch.uint8)
    except RuntimeError as error:
        needed = count * channels * size * size / 1e9
        raise InputError(
            f"{count} pictures of {size}×{size} px take {needed:.1f} GB of memory; give a smaller --size"
        ) from error
