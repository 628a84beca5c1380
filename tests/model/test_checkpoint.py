"""State dicts in all their wrappings, and state dicts that are refused."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.model.conftest import MakeState, State, refusal, saved
from u2net.model.checkpoint import WeightSet, describe_checkpoint, load_checkpoint, save_weights
from u2net.model.network import U2NET, U2NETP
from u2net.runtime.errors import CheckpointError
from u2net.runtime.files import hash_file

NAN, INF = float("nan"), float("inf")


def same_weights(network: nn.Module, state: State, tolerance: float = 0.0) -> bool:
    loaded = network.state_dict()
    return set(loaded) >= set(state) and all(
        torch.allclose(loaded[key].double(), value.double(), atol=tolerance, rtol=tolerance)
        for key, value in state.items()
    )


def without(state: State, *parts: str) -> State:
    return {key: value for key, value in state.items() if not any(part in key for part in parts)}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def wrapped(state: State, key: str) -> dict[str, object]:
    return {key: state, "epoch": 3, "arch": "u2netp"}


WRAPPINGS: dict[str, Callable[[State], object]] = {
    "plain": lambda state: state,
    "ordered": OrderedDict,
    **{
        f"prefix {prefix}": partial(prefixed, prefix=prefix)
        for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "net.", "u2net.", "model.", "saliency.backbone.")
    },
    **{
        f"wrapper {key}": partial(wrapped, key=key)
        for key in ("state_dict", "model", "model_state_dict", "net", "ema", "params", "params_ema", "weights")
    },
    "prefix in wrapper": lambda state: {"state_dict": prefixed(state, "module.")},
    "AveragedModel": lambda state: {"n_averaged": torch.tensor(7), **prefixed(state, "module.")},
    "AveragedModel in wrapper": lambda state: {
        "model_ema": {"n_averaged": torch.tensor(7), **prefixed(state, "module.")}
    },
    "AveragedModel with prefix": lambda state: {"a.n_averaged": torch.tensor(7), **prefixed(state, "a.module.")},
    "an average that is not a state dict": lambda state: {"ema": {"decay": 0.9, "shadow": [1.0]}, "model": state},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_pickled_state_dict_is_found(tmp_path: Path, fresh_state: MakeState, wrapping: str) -> None:
    state = fresh_state(1)

    checkpoint = load_checkpoint(saved(WRAPPINGS[wrapping](state), tmp_path / "weights.pth"))

    assert checkpoint.variant == "u2netp"
    assert same_weights(checkpoint.network, state)


@pytest.mark.parametrize(
    ("averaged", "trained"),
    [("ema", "model"), ("params_ema", "params"), ("state_dict_ema", "state_dict"), ("model_ema", "weights")],
)
def test_of_two_sets_of_weights_the_wanted_one_is_taken(
    tmp_path: Path, fresh_state: MakeState, averaged: str, trained: str
) -> None:
    ema, model = fresh_state(1), {key: value + 1 for key, value in fresh_state(1).items()}
    path = saved({trained: model, averaged: ema}, tmp_path / "both.pth")

    cases: list[tuple[WeightSet | None, str, State]] = [
        (None, "ema", ema),
        ("ema", "ema", ema),
        ("model", "model", model),
    ]
    for wanted, taken, state in cases:
        checkpoint = load_checkpoint(path, wanted)
        assert describe_checkpoint(checkpoint)["weights"] == checkpoint.weights == taken
        assert same_weights(checkpoint.network, state)


@pytest.mark.parametrize(("wrapper", "wanted"), [("params", "ema"), ("params_ema", "model")])
def test_weights_that_the_file_does_not_hold_are_refused(
    tmp_path: Path, fresh_state: MakeState, wrapper: str, wanted: WeightSet
) -> None:
    path = saved({wrapper: fresh_state(1)}, tmp_path / "one.pth")

    with pytest.raises(CheckpointError, match=f"holds no '{wanted}' weights, only '"):
        load_checkpoint(path, wanted)


def test_two_networks_in_one_state_dict_are_refused(tmp_path: Path, fresh_state: MakeState) -> None:
    state = {**prefixed(fresh_state(1), "student."), **prefixed(fresh_state(1), "the_teacher.")}

    message = refusal(saved(state, tmp_path / "a.pth"))

    assert "its weights are under 'student.', 'the_teacher." in message


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ""])
def test_any_other_suffix_is_a_pickle(tmp_path: Path, fresh_state: MakeState, suffix: str) -> None:
    assert same_weights(load_checkpoint(saved(fresh_state(1), tmp_path / f"a{suffix}")).network, fresh_state(1))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_are_read(tmp_path: Path, fresh_state: MakeState, prefix: str) -> None:
    state = fresh_state(1)
    save_file({prefix + key: value for key, value in state.items()}, tmp_path / "weights.safetensors")

    assert same_weights(load_checkpoint(tmp_path / "weights.safetensors").network, state)


def test_the_older_file_format_is_read(tmp_path: Path, fresh_state: MakeState) -> None:
    torch.save(fresh_state(1), tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    assert same_weights(load_checkpoint(tmp_path / "old.pth").network, fresh_state(1))


def test_batch_counters_may_be_missing(tmp_path: Path, fresh_state: MakeState) -> None:
    state = without(fresh_state(1), "num_batches_tracked")

    assert len(state) == 686
    assert same_weights(load_checkpoint(saved(state, tmp_path / "a.pth")).network, state)


def test_fp8_is_read_as_single(tmp_path: Path, fresh_state: MakeState) -> None:
    floats = {key: value for key, value in fresh_state(1).items() if value.is_floating_point()}
    state = fresh_state(1) | {key: value.to(torch.float8_e4m3fn) for key, value in floats.items()}

    loaded = load_checkpoint(saved(state, tmp_path / "a.pth")).network

    assert {value.dtype for value in loaded.parameters()} == {torch.float32}


def test_half_precision_is_read_as_single(tmp_path: Path, fresh_state: MakeState) -> None:
    network = U2NETP()
    network.load_state_dict(fresh_state(1))
    save_weights(network, str(tmp_path / "half.safetensors"), half=True)

    loaded = load_checkpoint(tmp_path / "half.safetensors").network

    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    assert same_weights(loaded, fresh_state(1), 1e-3)
    assert not same_weights(loaded, fresh_state(1))


def test_four_channels_are_found(tmp_path: Path, fresh_state: MakeState) -> None:
    checkpoint = load_checkpoint(saved(prefixed(fresh_state(4), "module."), tmp_path / "cloth.pth"))

    assert checkpoint.network.out_channels == 4
    assert same_weights(checkpoint.network, fresh_state(4))


def test_the_full_network_is_told_by_its_shapes(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in U2NET(out_channels=4).state_dict().items()}
    state = {key: torch.tensor(0.25).expand(shape) for key, shape in shapes.items()}

    network = load_checkpoint(saved(state, tmp_path / "u2net.pth")).network

    assert isinstance(network, U2NET)
    assert network.out_channels == 4
    assert all((parameter == 0.25).all() for parameter in network.parameters())


def test_a_loaded_network_is_ready_to_use(checkpoint: Any) -> None:
    assert not any(module.training for module in checkpoint.network.modules())
    assert next(checkpoint.network.parameters()).device.type == "cpu"


def test_the_hash_is_that_of_the_file(tmp_path: Path, fresh_state: MakeState) -> None:
    path = saved(fresh_state(1), tmp_path / "a.pth")

    assert load_checkpoint(path).sha256 == hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_saved_weights_are_complete_and_described(tmp_path: Path, fresh_state: MakeState) -> None:
    network = U2NETP(out_channels=4)
    network.load_state_dict(fresh_state(4))

    save_weights(network, tmp_path / "a.safetensors")

    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert same_weights(load_checkpoint(tmp_path / "a.safetensors").network, fresh_state(4))
    save_weights(network, tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


def test_channels_last_weights_can_be_saved(tmp_path: Path, fresh_state: MakeState) -> None:
    network = U2NETP()
    network.load_state_dict(fresh_state(1))

    save_weights(network.to(memory_format=torch.channels_last), tmp_path / "a.safetensors")  # type: ignore[call-overload]

    assert same_weights(load_checkpoint(tmp_path / "a.safetensors").network, fresh_state(1))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, "an empty dictionary"),
        ({"state_dict": {}}, "an empty dictionary"),
        ([1, 2], "a list"),
        (torch.zeros(3), "a Tensor"),
        (None, "a NoneType"),
        (7, "a int"),
        ({"epoch": 3}, "'epoch' holds a int, not a tensor"),
        ({"state_dict": {"a": torch.zeros(1), "b": [1]}}, "'b' holds a list, not a tensor"),
        ({0: torch.zeros(1)}, "0 holds a Tensor"),
        ({"optimizer": {"lr": 1.0}}, "'optimizer' holds a dictionary with 'lr'"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: object, found: str) -> None:
    assert found in refusal(saved(content, tmp_path / "a.pth"))


def test_empty_safetensors_are_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "a.safetensors")

    assert "an empty dictionary" in refusal(tmp_path / "a.safetensors")


def test_another_network_is_refused(tmp_path: Path) -> None:
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))

    message = refusal(saved(other.state_dict(), tmp_path / "other.pth"))

    assert "is not a U²-Net: it has 7 tensors, the first is '0.bias'" in message
    assert "lacks 'stage2.rebnconvin.conv_s1.weight'" in message


PROBE = "stage2.rebnconvin.conv_s1.weight"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"outconv.bias": None}, "is not a whole u2netp: 1 missing (outconv.bias)"),
        ({"stage6.rebnconv4.bn_s1.running_mean": None}, "1 missing (stage6.rebnconv4.bn_s1.running_mean)"),
        ({f"stage7.{index}": torch.zeros(1) for index in range(5)}, "5 unknown (stage7.0, stage7.1, stage7.2, …)"),
        ({"side3.bias": None, "side3.biass": torch.zeros(1)}, "1 missing (side3.bias), 1 unknown (side3.biass)"),
        ({PROBE: torch.zeros(())}, PROBE),
        ({PROBE: torch.zeros(96, 64, 3, 3)}, "96 output channels; u2net has 128 and u2netp has 64"),
        ({"side1.weight": torch.zeros(0, 64, 3, 3)}, "the network has no output"),
        ({"side1.weight": torch.zeros(()).expand(10**13, 64, 3, 3)}, "does not go with side1.weight's"),
        ({"stage1.rebnconvin.conv_s1.weight": torch.zeros(64, 3, 5, 5)}, "conv_s1.weight has shape (64, 3, 5, 5)"),
        ({"outconv.weight": torch.zeros(4, 24, 1, 1)}, "outconv.weight has shape"),
        ({"side2.bias": torch.zeros(())}, "side2.bias has shape ()"),
        *(({"side1.bias": torch.tensor([value])}, "side1.bias holds NaN or Inf") for value in (NAN, INF, -INF)),
        ({"stage1d.rebnconvin.bn_s1.running_var": torch.full((64,), NAN)}, "running_var holds NaN or Inf"),
        ({"stage1d.rebnconvin.bn_s1.running_var": torch.full((64,), -0.1)}, "running_var holds negative variances"),
        ({"side1.bias": torch.tensor([1e300], dtype=torch.float64)}, "side1.bias holds NaN or Inf"),
        *(
            ({"side5.bias": torch.zeros(1, dtype=dtype)}, f"side5.bias holds {dtype}; weights are floating-point")
            for dtype in (torch.int64, torch.uint8, torch.bool, torch.complex64)
        ),
        ({"side2.bias": torch.zeros(1, device="meta")}, "side2.bias is a torch.strided tensor on meta, not plain"),
        ({"side2.bias": torch.zeros(1).to_sparse()}, "side2.bias is a torch.sparse_coo tensor on cpu, not plain"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused(
    tmp_path: Path, fresh_state: MakeState, changes: dict[str, Tensor | None], found: str
) -> None:
    state = {key: value for key, value in {**fresh_state(1), **changes}.items() if value is not None}

    assert found in refusal(saved(state, tmp_path / "a.pth"))
