"""RSU blocks against a second implementation, written from the paper's section 3.1 on the state dict alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from u2net.model.blocks import RSU, ConvBNReLU, UpsampleLike

State = dict[str, Tensor]


def unit(state: State, name: str, x: Tensor, dilation: int = 1) -> Tensor:
    """Convolution, batch norm with running statistics, ReLU."""
    x = F.conv2d(x, state[f"{name}.conv_s1.weight"], state[f"{name}.conv_s1.bias"], padding=dilation, dilation=dilation)
    norm = f"{name}.bn_s1"
    x = F.batch_norm(
        x,
        state[f"{norm}.running_mean"],
        state[f"{norm}.running_var"],
        state[f"{norm}.weight"],
        state[f"{norm}.bias"],
        eps=1e-5,
    )
    return x.clamp(min=0)


def up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def down(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def rsu7(state: State, x: Tensor) -> Tensor:
    """RSU-7, level by level as figure 2 of the paper has it."""
    entry = unit(state, "rebnconvin", x)
    e1 = unit(state, "rebnconv1", entry)
    e2 = unit(state, "rebnconv2", down(e1))
    e3 = unit(state, "rebnconv3", down(e2))
    e4 = unit(state, "rebnconv4", down(e3))
    e5 = unit(state, "rebnconv5", down(e4))
    e6 = unit(state, "rebnconv6", down(e5))
    bottom = unit(state, "rebnconv7", e6, dilation=2)
    d6 = unit(state, "rebnconv6d", torch.cat([bottom, e6], 1))
    d5 = unit(state, "rebnconv5d", torch.cat([up(d6, e5), e5], 1))
    d4 = unit(state, "rebnconv4d", torch.cat([up(d5, e4), e4], 1))
    d3 = unit(state, "rebnconv3d", torch.cat([up(d4, e3), e3], 1))
    d2 = unit(state, "rebnconv2d", torch.cat([up(d3, e2), e2], 1))
    return unit(state, "rebnconv1d", torch.cat([up(d2, e1), e1], 1)) + entry


def rsu4f(state: State, x: Tensor) -> Tensor:
    """RSU-4F: dilations in place of pooling, one resolution throughout."""
    entry = unit(state, "rebnconvin", x)
    e1 = unit(state, "rebnconv1", entry)
    e2 = unit(state, "rebnconv2", e1, dilation=2)
    e3 = unit(state, "rebnconv3", e2, dilation=4)
    bottom = unit(state, "rebnconv4", e3, dilation=8)
    d3 = unit(state, "rebnconv3d", torch.cat([bottom, e3], 1), dilation=4)
    d2 = unit(state, "rebnconv2d", torch.cat([d3, e2], 1), dilation=2)
    return unit(state, "rebnconv1d", torch.cat([d2, e1], 1)) + entry


def lively(block: RSU) -> RSU:
    """The block with batch-norm statistics as a training would leave them, in eval mode."""
    generator = torch.Generator().manual_seed(3)
    for name, value in block.state_dict().items():
        if name.endswith(("running_mean", "bn_s1.bias")):
            value.normal_(0, 0.3, generator=generator)
        elif name.endswith(("running_var", "bn_s1.weight")):
            value.uniform_(0.5, 2.0, generator=generator)
    return block.eval()


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (32, 45), (33, 129)])
def test_rsu7_is_the_papers(size: tuple[int, int]) -> None:
    block = lively(RSU(7, 3, 4, 8))
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))

    with torch.inference_mode():
        torch.testing.assert_close(block(x.clone()), rsu7(block.state_dict(), x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (7, 11), (1, 1)])
def test_rsu4f_is_the_papers(size: tuple[int, int]) -> None:
    block = lively(RSU(4, 6, 4, 8, dilated=True))
    x = torch.randn(2, 6, *size, generator=torch.Generator().manual_seed(1))

    with torch.inference_mode():
        torch.testing.assert_close(block(x.clone()), rsu4f(block.state_dict(), x), atol=1e-5, rtol=1e-5)


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
def test_a_dilated_convolution_reaches_that_far(dilation: int) -> None:
    unit_block = ConvBNReLU(1, 1, dilation).eval()
    dot = torch.zeros(1, 1, 33, 33)
    dot[0, 0, 16, 16] = 1

    touched = (unit_block.conv_s1(dot) - unit_block.conv_s1.bias).abs()[0, 0] > 1e-9

    assert touched.nonzero()[:, 0].unique().tolist() == [16 - dilation, 16, 16 + dilation]


def test_upsampling_is_bilinear_without_aligned_corners() -> None:
    source = torch.tensor([[[[0.0, 1.0]]]])

    grown = UpsampleLike()(source, torch.zeros(1, 1, 1, 4))

    assert grown.flatten().tolist() == [0.0, 0.25, 0.75, 1.0]
