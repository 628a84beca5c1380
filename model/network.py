"""U2NET and U2NETP, with the state-dict layout that the authors published.

Source: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
Pattern Recognition 106 (2020), section 3.2 and figure 5.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from u2net.model.blocks import RSU, UpsampleLike

OUTPUT_NAMES = ("d0", "d1", "d2", "d3", "d4", "d5", "d6")
"""Names of the fused map and the six side maps, in the order in which the network returns them."""

MIN_SIZE = 32
"""Smallest height and width in pixels, because the network halves them five times."""


@dataclass(frozen=True)
class StageSpec:
    """A residual U-block of the outer U: its height, and its inner and outer numbers of channels."""

    height: int
    mid: int
    out: int
    dilated: bool = False


class NetworkOutputs(NamedTuple):
    """Seven maps, float N×C×H×W at the size of the input: ``d0`` fused, ``d1``…``d6`` from fine to coarse."""

    d0: Tensor
    d1: Tensor
    d2: Tensor
    d3: Tensor
    d4: Tensor
    d5: Tensor
    d6: Tensor


class _U2NetBase(nn.Module):
    """The outer U that both variants share; they differ in their two tables of stages."""

    encoder: ClassVar[tuple[StageSpec, ...]]
    decoder: ClassVar[tuple[StageSpec, ...]]
    variant: ClassVar[str]

    def __init__(self, in_channels: int = 3, out_channels: int = 1) -> None:
        super().__init__()
        self.out_channels = out_channels
        width = in_channels
        for number, spec in enumerate(self.encoder, start=1):
            self.add_module(f"stage{number}", _block(width, spec))
            if number < 6:
                self.add_module(f"pool{number}{number + 1}", nn.MaxPool2d(2, stride=2, ceil_mode=True))
            width = spec.out
        for number, spec in zip(range(5, 0, -1), self.decoder, strict=True):
            self.add_module(f"upsample{number}d", UpsampleLike())
            self.add_module(f"stage{number}d", _block(width + self.encoder[number - 1].out, spec))
            width = spec.out
        side_widths = [spec.out for spec in reversed(self.decoder)] + [self.encoder[-1].out]
        for number, side_width in enumerate(side_widths, start=1):
            self.add_module(f"side{number}", nn.Conv2d(side_width, out_channels, 3, padding=1))
            if number > 1:
                self.add_module(f"upsample_side{number}", UpsampleLike())
        self.outconv = nn.Conv2d(6 * out_channels, out_channels, 1)

    def logits(self, x: Tensor) -> NetworkOutputs:
        """Map float N×3×H×W (H, W ≥ 32, normalised) to seven maps of logits, float N×C×H×W."""
        decoded = self.decode(self.encode(x))
        sides: list[Tensor] = []
        for number in range(1, 7):
            side: Tensor = getattr(self, f"side{number}")(decoded[number])
            sides.append(side if number == 1 else getattr(self, f"upsample_side{number}")(side, sides[0]))
        fused: Tensor = self.outconv(torch.cat(sides, 1))
        return NetworkOutputs(fused, *sides)

    def encode(self, x: Tensor, first: int = 1, last: int = 6) -> dict[int, Tensor]:
        """Run the encoder stages ``first`` to ``last`` on the input of the first; return their maps by stage number."""
        encoded: dict[int, Tensor] = {}
        hidden = x
        for number in range(first, last + 1):
            encoded[number] = getattr(self, f"stage{number}")(hidden)
            hidden = self.pool(number, encoded[number])
        return encoded

    def decode(self, encoded: dict[int, Tensor]) -> dict[int, Tensor]:
        """Run the decoder from stage 6 down to the lowest stage in ``encoded``; return its maps by stage number."""
        decoded = {6: encoded[6]}
        for number in range(5, min(encoded) - 1, -1):
            skip = encoded[number]
            hidden = getattr(self, f"upsample{number}d")(decoded[number + 1], skip)
            decoded[number] = getattr(self, f"stage{number}d")(torch.cat((hidden, skip), 1))
        return decoded

    def pool(self, number: int, x: Tensor) -> Tensor:
        """Halve the map of a stage for the next one; the last stage, the sixth, is followed by no pooling."""
        halved: Tensor = getattr(self, f"pool{number}{number + 1}")(x) if number < 6 else x
        return halved

    def forward(self, x: Tensor) -> NetworkOutputs:
        """Map float N×3×H×W (H, W ≥ 32, normalised) to seven maps of probabilities, float N×C×H×W in [0, 1]."""
        return NetworkOutputs(*(self.probabilities(logits) for logits in self.logits(x)))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Apply a sigmoid to one channel, a saliency map, or a softmax to several, which are exclusive classes."""
        return torch.sigmoid(logits) if self.out_channels == 1 else torch.softmax(logits, dim=1)


class U2NET(_U2NetBase):
    """The full network: 44,009,869 parameters with one output channel."""

    variant = "u2net"
    encoder = (
        StageSpec(7, 32, 64),
        StageSpec(6, 32, 128),
        StageSpec(5, 64, 256),
        StageSpec(4, 128, 512),
        StageSpec(4, 256, 512, dilated=True),
        StageSpec(4, 256, 512, dilated=True),
    )
    decoder = (
        StageSpec(4, 256, 512, dilated=True),
        StageSpec(4, 128, 256),
        StageSpec(5, 64, 128),
        StageSpec(6, 32, 64),
        StageSpec(7, 16, 64),
    )


class U2NETP(_U2NetBase):
    """The small network: 1,131,181 parameters with one output channel."""

    variant = "u2netp"
    encoder = (
        StageSpec(7, 16, 64),
        StageSpec(6, 16, 64),
        StageSpec(5, 16, 64),
        StageSpec(4, 16, 64),
        StageSpec(4, 16, 64, dilated=True),
        StageSpec(4, 16, 64, dilated=True),
    )
    decoder = (
        StageSpec(4, 16, 64, dilated=True),
        StageSpec(4, 16, 64),
        StageSpec(5, 16, 64),
        StageSpec(6, 16, 64),
        StageSpec(7, 16, 64),
    )


U2Net = U2NET | U2NETP

VARIANTS: dict[str, type[U2NET] | type[U2NETP]] = {"u2net": U2NET, "u2netp": U2NETP}


def _block(in_channels: int, spec: StageSpec) -> RSU:
    return RSU(spec.height, in_channels, spec.mid, spec.out, dilated=spec.dilated)
