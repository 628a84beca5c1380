"""What export puts around a network, which stays untouched: folded batch norm, explicit upsampling, chosen outputs."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from u2net.model.blocks import ConvBNReLU, UpsampleLike
from u2net.model.network import OUTPUT_NAMES, U2Net

PROBE_SIZE = 64
"""Side in pixels of the input on which the factors are read off; any multiple of 32 gives the same."""


class UpsampleBy(nn.Module):
    """Bilinear upsampling by a constant whole factor: an ONNX Resize with constant scales and nothing else."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, source: Tensor, _target: Tensor) -> Tensor:
        return F.interpolate(source, scale_factor=float(self.factor), mode="bilinear", align_corners=False)


class ChosenOutputs(nn.Module):
    """A network that returns only the named outputs, as a tuple in that order."""

    def __init__(self, network: U2Net, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.indices = tuple(OUTPUT_NAMES.index(name) for name in outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        logits = self.network.logits(x)
        return tuple(self.network.probabilities(logits[index]) for index in self.indices)


def wrap_network(network: U2Net, outputs: tuple[str, ...], *, whole_factors: bool) -> ChosenOutputs:
    """A copy of the network made ready for export, in eval mode.

    Args:
        outputs: names out of ``d0``…``d6``.
        whole_factors: height and width are multiples of 32, so that every upsampling is by a power of two.
    """
    folded = fold_batch_norm(network)
    if whole_factors:
        _fix_factors(folded)
    return ChosenOutputs(folded, outputs).eval()


def fold_batch_norm(network: U2Net) -> U2Net:
    """A copy whose convolutions carry their batch norm; folded in double precision and rounded once."""
    folded = copy.deepcopy(network).eval().double()
    for block in folded.modules():
        if isinstance(block, ConvBNReLU) and isinstance(block.bn_s1, nn.BatchNorm2d):
            block.conv_s1 = fuse_conv_bn_eval(block.conv_s1, block.bn_s1)
            block.bn_s1 = nn.Identity()
    return folded.float()


def _fix_factors(network: U2Net) -> None:
    """Run once, read each upsampling's factor off, and put the explicit module in its place."""
    factors: dict[str, int] = {}

    def remember(name: str) -> object:
        def hook(_module: nn.Module, maps: tuple[Tensor, Tensor]) -> None:
            source, target = maps
            factors[name] = target.shape[2] // source.shape[2]

        return hook

    places = [(name, module) for name, module in network.named_modules() if isinstance(module, UpsampleLike)]
    handles = [module.register_forward_pre_hook(remember(name)) for name, module in places]  # type: ignore[arg-type]
    with torch.inference_mode():
        network.logits(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
    for handle in handles:
        handle.remove()
    for name, factor in factors.items():
        network.set_submodule(name, UpsampleBy(factor))
