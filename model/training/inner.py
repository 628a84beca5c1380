"""Training of the inner stages alone: they decide what the object is, at a fraction of a step's cost."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from u2net.model.blocks import UpsampleLike
from u2net.model.loss import mean_bce
from u2net.model.network import U2Net


def freeze_outer(network: U2Net, count: int) -> list[nn.Module]:
    """Freeze the first stages of encoder and decoder, their side maps and the fusion; return these parts."""
    network.train().requires_grad_(True)
    if not count:
        return []
    numbers = range(1, count + 1)
    parts = [network.get_submodule(name.format(n)) for name in ("stage{}", "stage{}d", "side{}") for n in numbers]
    parts.append(network.outconv)
    for part in parts:
        part.requires_grad_(False)
    return parts


def inner_losses(network: U2Net, images: Tensor, masks: Tensor, outer: int) -> Tensor:
    """Return the losses of the side maps inside the outer stages, float32 of shape (6 - outer,), from fine to coarse.

    They are computed at the size of the finest of these maps, against masks averaged to that size: at the size of the
    images the losses would cost more than the stages that learn.
    """
    with torch.no_grad():
        hidden = network.encode(images, last=outer)[outer]
    decoded = network.decode(network.encode(hidden, first=outer + 1))
    finest, *coarser = (getattr(network, f"side{number}")(decoded[number]) for number in range(outer + 1, 7))
    enlarge = UpsampleLike()
    sides = [finest, *(enlarge(side, finest) for side in coarser)]
    return mean_bce(sides, F.adaptive_avg_pool2d(masks, finest.shape[2:]))
