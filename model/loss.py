"""Seven-way binary cross-entropy: the deep supervision that U²-Net is trained with."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from u2net.model.network import OUTPUT_NAMES
from u2net.runtime.errors import InputError


class FusionLoss(NamedTuple):
    """Result of :func:`bce_fusion`: means over all pixels, in nats."""

    fused: Tensor
    """Loss of ``d0`` alone, scalar."""
    terms: Tensor
    """Losses of ``d0``…``d6``, float32 of shape (7,)."""
    total: Tensor
    """Sum of the seven terms, scalar: what training minimises."""


def bce_fusion(outputs: Sequence[Tensor], target: Tensor) -> FusionLoss:
    """Return the binary cross-entropy of all seven maps against the same target.

    It is computed from logits in FP32, so it neither overflows nor loses its gradient at saturated pixels, and autocast
    does not change it.

    Args:
        outputs: seven maps of logits, N×C×H×W, as ``network.logits`` returns them.
        target: N×C×H×W in [0, 1], 1 where the object is.

    Raise InputError if there are not seven maps, or their shapes differ from the target's.
    """
    if len(outputs) != len(OUTPUT_NAMES):
        raise InputError(f"bce_fusion takes the {len(OUTPUT_NAMES)} maps d0…d6; got {len(outputs)}")
    for name, output in zip(OUTPUT_NAMES, outputs, strict=True):
        if output.shape != target.shape:
            raise InputError(f"{name} has shape {tuple(output.shape)}, the target {tuple(target.shape)}")
    terms = mean_bce(outputs, target)
    return FusionLoss(fused=terms[0], terms=terms, total=terms.sum())


def mean_bce(outputs: Sequence[Tensor], target: Tensor) -> Tensor:
    """Return the binary cross-entropy of each map of logits against the target, float32 of shape (maps,)."""
    with torch.autocast(target.device.type, enabled=False):
        truth = target.float()
        return torch.stack([F.binary_cross_entropy_with_logits(output.float(), truth) for output in outputs])
