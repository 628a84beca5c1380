"""All pictures of a training, decoded once: decoding them again takes longer than a GPU takes to learn from them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from u2net.model.dataset import Pair, read_pair
from u2net.runtime.cores import usable_cores
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

    def near(self, device: torch.device) -> "DecodedPairs":
        """Return a copy in the memory of a GPU, or ``self`` if it does not fit or the device is a processor."""
        room = GPU_SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
        fits = self.images.nbytes + self.masks.nbytes <= room
        return DecodedPairs(self.images.to(device), self.masks.to(device)) if fits else self


def decode_pairs(
    pairs: Sequence[Pair], size: int, report: Callable[[float], None] = lambda _share: None
) -> DecodedPairs:
    """Read all pairs, each stretched to size × size pixels, on one thread per processor core."""
    count = len(pairs)
    try:
        images, masks = (torch.empty(count, channels, size, size, dtype=torch.uint8) for channels in (3, 1))
    except RuntimeError as error:
        need = count * 4 * size**2 / 1e9
        raise InputError(f"{count} pictures of {size}×{size} px need {need:.1f} GB; lower --size") from error

    def read(index: int) -> None:
        image, mask = read_pair(pairs[index], size)
        images[index] = torch.from_numpy(np.array(image).transpose(2, 0, 1))
        masks[index, 0] = torch.from_numpy(np.array(mask))

    with ThreadPoolExecutor(usable_cores()) as pool:
        for done, _ in enumerate(pool.map(read, range(count)), 1):
            report(done / count)
    return DecodedPairs(images, masks)
