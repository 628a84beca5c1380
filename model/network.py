"""U2NET and U2NETP, with the state-dict layout that the authors published.

Source: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
Pattern Recognition 106 (2020), section 3.2 and figure 5.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from u2net.model.blocks import RSU, UpsampleLike


class NetworkOutputs(NamedTuple):
    """Seven maps, float N×C×H×W at the size of the input: ``d0`` fused, ``d1``…``d6`` from fine to coarse."""

    d0: Tensor
    d1: Tensor
    d2: Tensor
    d3: Tensor
    d4: Tensor
    d5: Tensor
    d6: Tensor


OUTPUT_NAMES = NetworkOutputs._fields
"""Names of the fused map and the six side maps, in the order in which the network returns them."""


class U2Net(nn.Module):
    """The outer U that both variants share; they differ in the numbers of inner and output channels of its stages."""

    variant: ClassVar[str]
    encoder: ClassVar[tuple[tuple[int, int], ...]]
    """Inner and output channels of stages 1 to 6."""
    decoder: ClassVar[tuple[tuple[int, int], ...]]
    """Inner and output channels of decoder stages 5 to 1."""

    def __init__(self, out_channels: int = 1) -> None:
        super().__init__()
        self.out_channels = out_channels
        width = 3
        for number, (inner, outer) in enumerate(self.encoder, start=1):
            self.add_module(f"stage{number}", _stage(number, width, inner, outer))
            if number < 6:
                self.add_module(f"pool{number}{number + 1}", nn.MaxPool2d(2, stride=2, ceil_mode=True))
            width = outer
        for number, (inner, outer) in zip(range(5, 0, -1), self.decoder, strict=True):
            self.add_module(f"upsample{number}d", UpsampleLike())
            self.add_module(f"stage{number}d", _stage(number, width + self.encoder[number - 1][1], inner, outer))
            width = outer
        side_widths = [outer for _, outer in (*reversed(self.decoder), self.encoder[-1])]
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
        """Run the encoder stages ``first`` to ``last`` on the map of the stage before; return their maps by number."""
        encoded: dict[int, Tensor] = {}
        for number in range(first, last + 1):
            if number > 1:
                x = getattr(self, f"pool{number - 1}{number}")(x)
            x = encoded[number] = getattr(self, f"stage{number}")(x)
        return encoded

    def decode(self, encoded: dict[int, Tensor]) -> dict[int, Tensor]:
        """Run the decoder from stage 6 down to the lowest stage in ``encoded``; return its maps by stage number."""
        decoded = {6: encoded[6]}
        for number in range(5, min(encoded) - 1, -1):
            skip = encoded[number]
            hidden = getattr(self, f"upsample{number}d")(decoded[number + 1], skip)
            decoded[number] = getattr(self, f"stage{number}d")(torch.cat((hidden, skip), 1))
        return decoded

    def forward(self, x: Tensor) -> NetworkOutputs:
        """Map float N×3×H×W (H, W ≥ 32, normalised) to seven maps of probabilities, float N×C×H×W in [0, 1]."""
        return NetworkOutputs(*(self.probabilities(logits) for logits in self.logits(x)))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Apply a sigmoid to one channel, a saliency map, or a softmax to several, which are exclusive classes."""
        return torch.sigmoid(logits) if self.out_channels == 1 else torch.softmax(logits, dim=1)


class U2NET(U2Net):
    """The full network: 44,009,869 parameters with one output channel."""

    variant = "u2net"
    encoder = ((32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512))
    decoder = ((256, 512), (128, 256), (64, 128), (32, 64), (16, 64))


class U2NETP(U2Net):
    """The small network: 1,131,181 parameters with one output channel."""

    variant = "u2netp"
    encoder = ((16, 64),) * 6
    decoder = ((16, 64),) * 5


VARIANTS: dict[str, type[U2Net]] = {"u2net": U2NET, "u2netp": U2NETP}


def _stage(number: int, in_channels: int, inner: int, outer: int) -> RSU:
    """Return the block of a stage: RSU-7, 6, 5 and 4, then RSU-4F where the map is too small for pooling."""
    return RSU(max(8 - number, 4), in_channels, inner, outer, dilated=number > 4)
