"""Structure of the blocks; test_network compares their outputs with a second implementation."""

import pytest
import torch

from u2net.model.blocks import RSU, ConvBNReLU, UpsampleLike


@pytest.mark.parametrize(("height", "dilated"), [(7, False), (6, False), (5, False), (4, False), (4, True)])
@pytest.mark.parametrize("size", [(32, 32), (37, 53)])
def test_a_block_keeps_height_and_width(height: int, dilated: bool, size: tuple[int, int]) -> None:
    block = RSU(height, 3, 4, 6, dilated=dilated).eval()

    assert block(torch.zeros(1, 3, *size)).shape == (1, 6, *size)


@pytest.mark.parametrize(("height", "dilated", "pools"), [(7, False, 5), (6, False, 4), (5, False, 3), (4, False, 2)])
def test_a_plain_block_pools_between_all_but_its_last_levels(height: int, dilated: bool, pools: int) -> None:
    modules = dict(RSU(height, 3, 4, 6, dilated=dilated).named_children())

    assert [name for name in modules if name.startswith("pool")] == [f"pool{level}" for level in range(1, pools + 1)]
    assert sum(name.startswith("upsample") for name in modules) == pools


def test_a_dilated_block_neither_pools_nor_upsamples() -> None:
    names = [name for name, _ in RSU(4, 3, 4, 6, dilated=True).named_children()]

    assert names == ["rebnconvin", *(f"rebnconv{level}" for level in ("1", "2", "3", "4", "3d", "2d", "1d"))]


@pytest.mark.parametrize("dilation", [1, 2, 8])
def test_a_dilated_convolution_reads_at_the_distance_of_its_dilation(dilation: int) -> None:
    unit_block = ConvBNReLU(1, 1, dilation).eval()
    dot = torch.zeros(1, 1, 33, 33)
    dot[0, 0, 16, 16] = 1

    touched = (unit_block.conv_s1(dot) - unit_block.conv_s1.bias).abs()[0, 0] > 1e-9

    assert touched.nonzero()[:, 0].unique().tolist() == [16 - dilation, 16, 16 + dilation]


def test_upsampling_is_bilinear_without_aligned_corners() -> None:
    source = torch.tensor([[[[0.0, 1.0]]]])

    grown = UpsampleLike()(source, torch.zeros(1, 1, 1, 4))

    assert grown.flatten().tolist() == [0.0, 0.25, 0.75, 1.0]
