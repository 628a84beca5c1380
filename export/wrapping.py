"""A copy of a network for export: folded batch norm, explicit upsampling, chosen outputs."""

import copy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from u2net.model.blocks import ConvBNReLU, UpsampleLike
from u2net.model.network import OUTPUT_NAMES, U2Net

PROBE_SIZE = 64
"""Side in pixels of the input that the upsampling factors are measured on; any multiple of 32 gives the same."""


class UpsampleBy(nn.Module):
    """Bilinear upsampling by a constant whole factor: an ONNX Resize with constant scales and nothing else."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, source: Tensor, _target: Tensor) -> Tensor:
        return F.interpolate(source, scale_factor=float(self.factor), mode="bilinear", align_corners=False)


class ChosenOutputs(nn.Module):
    """A network that returns the named outputs as a tuple, in the order of the names."""

    def __init__(self, network: U2Net, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.indices = tuple(OUTPUT_NAMES.index(name) for name in outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        logits = self.network.logits(x)
        return tuple(self.network.probabilities(logits[index]) for index in self.indices)


def wrap_network(network: U2Net, outputs: tuple[str, ...], *, whole_factors: bool) -> ChosenOutputs:
    """Return a copy of the network that is ready for export, in eval mode.

    ``whole_factors`` is for height and width that are multiples of 32. Every upsampling is then by a power of two, and
    every pooling halves an even side, so that rounding down, which more runtimes support, is exact.
    """
    folded = fold_batch_norm(network)
    if whole_factors:
        _fix_factors(folded)
        for module in folded.modules():
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = False
    return ChosenOutputs(folded, outputs).eval()


def fold_batch_norm(network: U2Net) -> U2Net:
    """Return a copy with batch norm folded into the convolutions, in double precision and rounded once."""
    folded = copy.deepcopy(network).eval().double()
    for block in folded.modules():
        if isinstance(block, ConvBNReLU) and isinstance(block.bn_s1, nn.BatchNorm2d):
            block.conv_s1 = fuse_conv_bn_eval(block.conv_s1, block.bn_s1)
            block.bn_s1 = nn.Identity()
    return folded.float()


def _fix_factors(network: U2Net) -> None:
    """Run the network once to measure each upsampling's factor, and put an :class:`UpsampleBy` in its place."""
    factors: dict[str, int] = {}

    def measure(name: str, _module: nn.Module, maps: tuple[Tensor, Tensor]) -> None:
        source, target = maps
        factors[name] = target.shape[2] // source.shape[2]

    for name, module in network.named_modules():
        if isinstance(module, UpsampleLike):
            module.register_forward_pre_hook(partial(measure, name))
    with torch.inference_mode():
        network.logits(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
    for name, factor in factors.items():
        network.set_submodule(name, UpsampleBy(factor))
