"""The building blocks of U²-Net: a convolution with batch norm and ReLU, and the residual U-block (RSU).

Source: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
Pattern Recognition 106 (2020), section 3.1. Attribute names follow the published state dict.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBNReLU(nn.Module):
    """3×3 convolution, batch norm and ReLU, which keep height and width."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation)
        self.bn_s1: nn.Module = nn.BatchNorm2d(out_channels)
        self.relu_s1 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu_s1(self.bn_s1(self.conv_s1(x)))
        return y


class UpsampleLike(nn.Module):
    """Bilinear upsampling (``align_corners=False``) to the height and width of another map.

    It is a module without parameters so that an exporter can replace it.
    """

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return F.interpolate(source, size=target.shape[2:], mode="bilinear", align_corners=False)


class RSU(nn.Module):
    """Residual U-block: RSU-7, RSU-6, RSU-5 and RSU-4 by ``height``, RSU-4F with ``dilated``.

    The plain block halves the map between its upper levels and doubles it on the way back; the dilated block keeps the
    resolution and enlarges the receptive field with dilations of 1, 2, 4 and 8.
    ``height`` is the number of levels of the inner U, ``mid_channels`` the number of their channels.
    """

    def __init__(
        self, height: int, in_channels: int, mid_channels: int, out_channels: int, *, dilated: bool = False
    ) -> None:
        super().__init__()
        self.height = height
        self.dilated = dilated
        self.rebnconvin = ConvBNReLU(in_channels, out_channels)
        for level in range(1, height + 1):
            width = out_channels if level == 1 else mid_channels
            self.add_module(f"rebnconv{level}", ConvBNReLU(width, mid_channels, self._dilation(level)))
            if self._pools_after(level):
                self.add_module(f"pool{level}", nn.MaxPool2d(2, stride=2, ceil_mode=True))
        for level in range(height - 1, 0, -1):
            width = out_channels if level == 1 else mid_channels
            self.add_module(f"rebnconv{level}d", ConvBNReLU(2 * mid_channels, width, self._dilation(level)))
            if self._pools_after(level):
                self.add_module(f"upsample{level}", UpsampleLike())

    def _dilation(self, level: int) -> int:
        if self.dilated:
            return int(2 ** (level - 1))
        return 2 if level == self.height else 1

    def _pools_after(self, level: int) -> bool:
        """Return whether the map is halved after this level; the two lowest levels share a resolution."""
        return not self.dilated and level <= self.height - 2

    def forward(self, x: Tensor) -> Tensor:
        """Map float N×in_channels×H×W to float N×out_channels×H×W."""
        entry: Tensor = self.rebnconvin(x)
        skips: list[Tensor] = []
        hidden = entry
        for level in range(1, self.height):
            skips.append(getattr(self, f"rebnconv{level}")(hidden))
            hidden = getattr(self, f"pool{level}")(skips[-1]) if self._pools_after(level) else skips[-1]
        hidden = getattr(self, f"rebnconv{self.height}")(hidden)
        for level in range(self.height - 1, 0, -1):
            skip = skips[level - 1]
            if self._pools_after(level):
                hidden = getattr(self, f"upsample{level}")(hidden, skip)
            hidden = getattr(self, f"rebnconv{level}d")(torch.cat((hidden, skip), 1))
        fused: Tensor = hidden + entry
        return fused
