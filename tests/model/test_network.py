"""Covers model/network.py and blocks.py: the published layout, and a second implementation of U2NETP."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from u2net.model.checkpoint import Checkpoint
from u2net.model.network import OUTPUT_NAMES, U2NETP, VARIANTS, NetworkOutputs, U2Net

State = dict[str, Tensor]

SMALL_HEIGHTS = {"1": 7, "2": 6, "3": 5, "4": 4, "5": 0, "6": 0, "5d": 0, "4d": 4, "3d": 5, "2d": 6, "1d": 7}
"""Height of the U of each stage; 0 for the dilated RSU-4F."""


def on_paper(variant: str, channels: int = 1) -> U2Net:
    """Return a network on the meta device, which has shapes and no values."""
    with torch.device("meta"):
        return VARIANTS[variant](out_channels=channels).eval()


def unit(state: State, name: str, x: Tensor, dilation: int) -> Tensor:
    weight, bias = state[f"{name}.conv_s1.weight"], state[f"{name}.conv_s1.bias"]
    mean, var, gamma, beta = (
        state[f"{name}.bn_s1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.relu(F.batch_norm(F.conv2d(x, weight, bias, padding=dilation, dilation=dilation), mean, var, gamma, beta))


def up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def down(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, 2, ceil_mode=True)


def plain_u(state: State, stage: str, level: int, deepest: int, x: Tensor) -> Tensor:
    """Compute the levels from ``level`` down: encode, recurse at half the size, decode."""
    if level == deepest:
        return unit(state, f"{stage}.rebnconv{level}", x, 2)
    encoded = unit(state, f"{stage}.rebnconv{level}", x, 1)
    smaller = down(encoded) if level < deepest - 1 else encoded
    inner = up(plain_u(state, stage, level + 1, deepest, smaller), encoded)
    return unit(state, f"{stage}.rebnconv{level}d", torch.cat([inner, encoded], 1), 1)


def dilated_u(state: State, stage: str, level: int, x: Tensor) -> Tensor:
    encoded = unit(state, f"{stage}.rebnconv{level}", x, 2 ** (level - 1))
    if level == 4:
        return encoded
    inner = dilated_u(state, stage, level + 1, encoded)
    return unit(state, f"{stage}.rebnconv{level}d", torch.cat([inner, encoded], 1), 2 ** (level - 1))


def stage(state: State, number: str, x: Tensor) -> Tensor:
    name, height = f"stage{number}", SMALL_HEIGHTS[number]
    entry = unit(state, f"{name}.rebnconvin", x, 1)
    return entry + (plain_u(state, name, 1, height, entry) if height else dilated_u(state, name, 1, entry))


def second_implementation(state: State, x: Tensor) -> list[Tensor]:
    """Compute the logits of d0…d6 from the state dict alone, as figure 5 of the paper shows them."""
    encoded = [stage(state, "1", x)]
    for number in "23456":
        encoded.append(stage(state, number, down(encoded[-1])))
    decoded = [encoded[5]]
    for number in "54321":
        skip = encoded[int(number) - 1]
        decoded.append(stage(state, f"{number}d", torch.cat([up(decoded[-1], skip), skip], 1)))
    sides = [
        up(F.conv2d(decoded[6 - number], state[f"side{number}.weight"], state[f"side{number}.bias"], padding=1), x)
        for number in range(1, 7)
    ]
    return [F.conv2d(torch.cat(sides, 1), state["outconv.weight"], state["outconv.bias"]), *sides]


@pytest.mark.parametrize("size", [(64, 96), (37, 53), (32, 32)])
def test_u2netp_is_that_of_the_paper(checkpoint: Checkpoint, size: tuple[int, int]) -> None:
    network = checkpoint.network
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(2))

    with torch.inference_mode():
        expected = second_implementation(network.state_dict(), x)
        outputs, logits = network(x), network.logits(x)

    for got, raw, want in zip(outputs, logits, expected, strict=True):
        torch.testing.assert_close(raw, want, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(got, torch.sigmoid(want), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("variant", "channels", "parameters"),
    [("u2net", 1, 44_009_869), ("u2netp", 1, 1_131_181), ("u2net", 4, 44_051_452)],
)
def test_the_number_of_parameters_is_the_published_one(variant: str, channels: int, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in on_paper(variant, channels).parameters()) == parameters


@pytest.mark.parametrize(
    ("key", "full", "small"),
    [
        ("stage1.rebnconvin.conv_s1.weight", (64, 3, 3, 3), (64, 3, 3, 3)),
        ("stage1.rebnconv6d.conv_s1.weight", (32, 64, 3, 3), (16, 32, 3, 3)),
        ("stage2.rebnconvin.conv_s1.weight", (128, 64, 3, 3), (64, 64, 3, 3)),
        ("stage4.rebnconv1d.conv_s1.weight", (512, 256, 3, 3), (64, 32, 3, 3)),
        ("stage6.rebnconv4.conv_s1.weight", (256, 256, 3, 3), (16, 16, 3, 3)),
        ("stage5d.rebnconvin.conv_s1.weight", (512, 1024, 3, 3), (64, 128, 3, 3)),
        ("stage5d.rebnconv3d.bn_s1.running_var", (256,), (16,)),
        ("stage1d.rebnconv2.conv_s1.weight", (16, 16, 3, 3), (16, 16, 3, 3)),
        ("side1.weight", (1, 64, 3, 3), (1, 64, 3, 3)),
        ("side4.weight", (1, 256, 3, 3), (1, 64, 3, 3)),
        ("outconv.weight", (1, 6, 1, 1), (1, 6, 1, 1)),
    ],
)
def test_published_keys_have_their_published_shapes(key: str, full: tuple[int, ...], small: tuple[int, ...]) -> None:
    assert on_paper("u2net").state_dict()[key].shape == full
    assert on_paper("u2netp").state_dict()[key].shape == small


def published_units(stage_name: str, height: int) -> list[str]:
    levels = [
        "in",
        *(str(level) for level in range(1, height + 1)),
        *(f"{level}d" for level in range(height - 1, 0, -1)),
    ]
    return [f"{stage_name}.rebnconv{level}" for level in levels]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_keys_are_the_published_ones_in_their_order(variant: str) -> None:
    units = [
        name for number, height in SMALL_HEIGHTS.items() for name in published_units(f"stage{number}", height or 4)
    ]
    parts = ("conv_s1.weight", "conv_s1.bias", *(f"bn_s1.{part}" for part in BN_PARTS))
    expected = [f"{name}.{part}" for name in units for part in parts]
    expected += [f"{head}.{part}" for head in (*(f"side{n}" for n in range(1, 7)), "outconv") for part in HEAD_PARTS]

    assert len(expected) == 798
    assert list(on_paper(variant).state_dict()) == expected


BN_PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
HEAD_PARTS = ("weight", "bias")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("size", [(32, 32), (37, 53), (320, 320), (33, 500)])
def test_all_seven_maps_have_the_size_of_the_input(variant: str, channels: int, size: tuple[int, int]) -> None:
    outputs = on_paper(variant, channels)(torch.zeros(2, 3, *size, device="meta"))

    assert isinstance(outputs, NetworkOutputs)
    assert outputs._fields == OUTPUT_NAMES
    assert [output.shape for output in outputs] == [(2, channels, *size)] * 7


def test_several_channels_go_through_a_softmax() -> None:
    network = U2NETP(out_channels=4).eval()
    x = torch.randn(2, 3, 32, 32)

    with torch.inference_mode():
        for probability, logit in zip(network(x), network.logits(x), strict=True):
            exponents = torch.exp(logit - logit.amax(dim=1, keepdim=True))
            torch.testing.assert_close(probability, exponents / exponents.sum(1, keepdim=True), atol=1e-6, rtol=0)
