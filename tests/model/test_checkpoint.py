import hashlib
import json
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from u2net.model.checkpoint import describe_checkpoint, load_checkpoint, save_weights
from u2net.model.network import U2NET, U2NETP
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.errors import CheckpointError
from u2net.runtime.files import hash_file

State = dict[str, Tensor]
MakeState = Callable[[int], State]


def same_weights(network: nn.Module, state: State, tolerance: float = 0.0) -> bool:
    loaded = network.state_dict()
    return set(loaded) >= set(state) and all(
        torch.allclose(loaded[key].double(), value.double(), atol=tolerance, rtol=tolerance)
        for key, value in state.items()
    )


def refusal(path: Path) -> str:
    """The message with which a file is refused; it names the file."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def without(state: State, *parts: str) -> State:
    return {key: value for key, value in state.items() if not any(part in key for part in parts)}


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


WRAPPINGS: dict[str, Callable[[State], object]] = {
    "plain": lambda state: state,
    "ordered": OrderedDict,
    "module": lambda state: {f"module.{key}": value for key, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "both": lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "arch": "u2netp"},
    "model": lambda state: {"model": state},
    "module in state_dict": lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_pickled_state_dict_is_found(tmp_path: Path, fresh_state: MakeState, wrapping: str) -> None:
    state = fresh_state(1)

    checkpoint = load_checkpoint(saved(WRAPPINGS[wrapping](state), tmp_path / "weights.pth"))

    assert checkpoint.variant == "u2netp"
    assert same_weights(checkpoint.network, state)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ""])
def test_any_name_but_safetensors_is_a_pickle(tmp_path: Path, fresh_state: MakeState, suffix: str) -> None:
    assert same_weights(load_checkpoint(saved(fresh_state(1), tmp_path / f"a{suffix}")).network, fresh_state(1))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_are_read(tmp_path: Path, fresh_state: MakeState, prefix: str) -> None:
    state = fresh_state(1)
    save_file({prefix + key: value for key, value in state.items()}, tmp_path / "weights.safetensors")

    assert same_weights(load_checkpoint(tmp_path / "weights.safetensors").network, state)


def test_the_older_file_format_is_read(tmp_path: Path, fresh_state: MakeState) -> None:
    torch.save(fresh_state(1), tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    assert same_weights(load_checkpoint(tmp_path / "old.pth").network, fresh_state(1))


def test_a_string_is_a_path_too(tmp_path: Path, fresh_state: MakeState) -> None:
    assert load_checkpoint(str(saved(fresh_state(1), tmp_path / "a.pth"))).path == tmp_path / "a.pth"


def test_batch_counters_may_be_missing(tmp_path: Path, fresh_state: MakeState) -> None:
    state = without(fresh_state(1), "num_batches_tracked")

    assert len(state) == 686
    assert same_weights(load_checkpoint(saved(state, tmp_path / "a.pth")).network, state)


def test_half_precision_is_read_as_single(tmp_path: Path, fresh_state: MakeState) -> None:
    network = U2NETP()
    network.load_state_dict(fresh_state(1))
    save_weights(network, tmp_path / "half.safetensors", half=True)

    loaded = load_checkpoint(tmp_path / "half.safetensors").network

    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    assert same_weights(loaded, fresh_state(1), 1e-3)
    assert not same_weights(loaded, fresh_state(1))


def test_four_channels_are_found(tmp_path: Path, fresh_state: MakeState) -> None:
    checkpoint = load_checkpoint(saved(WRAPPINGS["module"](fresh_state(4)), tmp_path / "cloth.pth"))

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


def test_the_hash_is_the_files(tmp_path: Path, fresh_state: MakeState) -> None:
    path = saved(fresh_state(1), tmp_path / "a.pth")

    assert load_checkpoint(path).sha256 == hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_description_says_what_it_is(checkpoint: Any) -> None:
    assert describe_checkpoint(checkpoint) == {
        "kind": "checkpoint",
        "variant": "u2netp",
        "out_channels": 1,
        "parameters": 1_131_181,
        "sha256": hashlib.sha256(BUNDLED_WEIGHTS.read_bytes()).hexdigest(),
    }


def test_saved_weights_are_all_weights_and_say_what_they_are(tmp_path: Path, fresh_state: MakeState) -> None:
    network = U2NETP(out_channels=4)
    network.load_state_dict(fresh_state(4))

    save_weights(network, tmp_path / "a.safetensors")

    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert same_weights(load_checkpoint(tmp_path / "a.safetensors").network, fresh_state(4))
    content = (tmp_path / "a.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    assert header["__metadata__"] == {"variant": "u2netp", "out_channels": "4"}


def test_channels_last_weights_can_be_saved(tmp_path: Path, fresh_state: MakeState) -> None:
    network = U2NETP()
    network.load_state_dict(fresh_state(1))

    save_weights(network.to(memory_format=torch.channels_last), tmp_path / "a.safetensors")  # type: ignore[call-overload]

    assert same_weights(load_checkpoint(tmp_path / "a.safetensors").network, fresh_state(1))


# What is refused


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "nowhere/a.pt"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    assert "there is no such file" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "folder"])
def test_a_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()

    assert "is not a file" in refusal(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"these are no weights\n", b"\x00" * 4096, b"PK\x03\x04", b"\x80\x02."])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
def test_what_is_no_checkpoint(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(content)

    assert "cannot be read as" in (message := refusal(path)) or "is refused" in message


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file(tmp_path: Path, fresh_state: MakeState, suffix: str, keep: float) -> None:
    path = tmp_path / f"short{suffix}"
    if suffix == ".pth":
        torch.save(fresh_state(1), path)
    else:
        save_file(fresh_state(1), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])

    assert "cannot be read as" in refusal(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04", b"\x93NUMPY"]), rest=st.binary(max_size=60))
@example(start=b"", rest=b"j")
def test_no_bytes_whatever_get_past(tmp_path: Path, start: bytes, rest: bytes) -> None:
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"noise{suffix}"
        path.write_bytes(start + rest)
        refusal(path)


class Intruder:
    """Unpickled by a careless reader, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["alone", "beside", "inside"])
def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, fresh_state: MakeState, place: str, zipped: bool
) -> None:
    trace = tmp_path / "trace"
    content: dict[str, Callable[[], object]] = {
        "alone": lambda: Intruder(trace),
        "beside": lambda: {"state_dict": fresh_state(1), "hyper": Intruder(trace)},
        "inside": lambda: {**fresh_state(1), "extra": Intruder(trace)},
    }
    path = tmp_path / "evil.pth"
    torch.save(content[place](), path, _use_new_zipfile_serialization=zipped)

    message = refusal(path)

    assert "is refused" in message
    assert "save network.state_dict() alone" in message
    assert not trace.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    assert "is refused" in refusal(saved(U2NETP(), tmp_path / "module.pth"))


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
def test_what_is_no_state_dict(tmp_path: Path, content: object, found: str) -> None:
    assert found in refusal(saved(content, tmp_path / "a.pth"))


def test_empty_safetensors(tmp_path: Path) -> None:
    save_file({}, tmp_path / "a.safetensors")

    assert "an empty dictionary" in refusal(tmp_path / "a.safetensors")


def test_another_network(tmp_path: Path) -> None:
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))

    message = refusal(saved(other.state_dict(), tmp_path / "other.pth"))

    assert "is not a U²-Net: it has 7 tensors, the first is '0.bias'" in message
    assert "lacks 'stage2.rebnconvin.conv_s1.weight'" in message


@pytest.mark.parametrize("key", ["stage2.rebnconvin.conv_s1.weight", "side1.weight"])
@pytest.mark.parametrize("value", [torch.zeros(()), torch.zeros(64), torch.zeros(0, 64, 3, 3), torch.zeros(1, 64)])
def test_the_telling_tensors_of_another_shape(tmp_path: Path, fresh_state: MakeState, key: str, value: Tensor) -> None:
    assert key.removesuffix(".weight") in refusal(saved({**fresh_state(1), key: value}, tmp_path / "a.pth"))


def test_a_variant_nobody_knows(tmp_path: Path, fresh_state: MakeState) -> None:
    state = {**fresh_state(1), "stage2.rebnconvin.conv_s1.weight": torch.zeros(96, 64, 3, 3)}

    assert "96 output channels; u2net has 128 and u2netp has 64" in refusal(saved(state, tmp_path / "a.pth"))


def test_a_number_of_channels_beyond_all_memory(tmp_path: Path, fresh_state: MakeState) -> None:
    state = {**fresh_state(1), "side1.weight": torch.zeros(()).expand(10**13, 64, 3, 3)}

    assert "side1.weight" in refusal(saved(state, tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("stage3.", "60 missing (stage3.rebnconvin.conv_s1.weight, "),
        ("outconv.bias", "1 missing (outconv.bias)"),
        ("stage6.rebnconv4.bn_s1.running_mean", "1 missing (stage6.rebnconv4.bn_s1.running_mean)"),
    ],
)
def test_missing_keys(tmp_path: Path, fresh_state: MakeState, part: str, found: str) -> None:
    message = refusal(saved(without(fresh_state(1), part), tmp_path / "a.pth"))

    assert f"is not a whole u2netp: {found}" in message


def test_extra_keys(tmp_path: Path, fresh_state: MakeState) -> None:
    state = {**fresh_state(1), **{f"stage7.{index}": torch.zeros(1) for index in range(5)}}

    assert "5 unknown (stage7.0, stage7.1, stage7.2, …)" in refusal(saved(state, tmp_path / "a.pth"))


def test_a_renamed_key_is_told_both_ways(tmp_path: Path, fresh_state: MakeState) -> None:
    state = fresh_state(1)
    state["side3.biass"] = state.pop("side3.bias")

    message = refusal(saved(state, tmp_path / "a.pth"))

    assert "1 missing (side3.bias)" in message
    assert "1 unknown (side3.biass)" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stage1.rebnconvin.conv_s1.weight", torch.zeros(64, 3, 5, 5)),
        ("stage4d.rebnconv2.bn_s1.running_var", torch.zeros(17)),
        ("outconv.weight", torch.zeros(4, 24, 1, 1)),
        ("side1.weight", torch.zeros(4, 64, 3, 3)),
        ("side2.bias", torch.zeros(())),
    ],
)
def test_a_wrong_shape(tmp_path: Path, fresh_state: MakeState, key: str, value: Tensor) -> None:
    message = refusal(saved({**fresh_state(1), key: value}, tmp_path / "a.pth"))

    assert "has shape" in message
    assert key in message or key == "side1.weight"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["stage2.rebnconv1.conv_s1.weight", "stage1d.rebnconvin.bn_s1.running_var"])
def test_weights_that_are_no_numbers(tmp_path: Path, fresh_state: MakeState, key: str, value: float) -> None:
    broken = fresh_state(1)[key].clone()
    broken.view(-1)[3] = value

    assert f"{key} holds NaN or Inf" in refusal(saved({**fresh_state(1), key: broken}, tmp_path / "a.pth"))


def test_weights_that_single_precision_cannot_hold(tmp_path: Path, fresh_state: MakeState) -> None:
    key = "side1.bias"

    message = refusal(saved({**fresh_state(1), key: torch.tensor([1e300], dtype=torch.float64)}, tmp_path / "a.pth"))

    assert key in message


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_weights_that_are_no_floating_point_numbers(tmp_path: Path, fresh_state: MakeState, dtype: torch.dtype) -> None:
    state = {**fresh_state(1), "side5.weight": fresh_state(1)["side5.weight"].to(dtype)}

    assert f"side5.weight holds {dtype}" in refusal(saved(state, tmp_path / "a.pth"))


@pytest.mark.parametrize("kind", ["meta", "sparse"])
def test_weights_that_are_not_there_or_not_plain(tmp_path: Path, fresh_state: MakeState, kind: str) -> None:
    plain = fresh_state(1)["side2.weight"]
    odd = plain.to("meta") if kind == "meta" else plain.to_sparse()

    found = refusal(saved({**fresh_state(1), "side2.weight": odd}, tmp_path / "a.pth"))

    assert "side2.weight is a torch.s" in found
    assert found.endswith("not plain numbers")


def test_a_network_without_outputs(tmp_path: Path, fresh_state: MakeState) -> None:
    empty = {
        key: value[:0] if key.startswith("side") else value[:0, :0] if key == "outconv.weight" else value[:0]
        for key, value in fresh_state(1).items()
        if key.startswith(("side", "outconv"))
    }

    assert "has no output" in refusal(saved({**fresh_state(1), **empty}, tmp_path / "a.pth"))


def test_safetensors_in_capitals(tmp_path: Path, fresh_state: MakeState) -> None:
    save_file(fresh_state(1), tmp_path / "A.SAFETENSORS")

    assert load_checkpoint(tmp_path / "A.SAFETENSORS").variant == "u2netp"


def test_safetensors_under_another_name_are_not_guessed(tmp_path: Path, fresh_state: MakeState) -> None:
    save_file(fresh_state(1), tmp_path / "a.pth")

    refusal(tmp_path / "a.pth")
