"""Eager PyTorch as a session; also covers ``model/opening.py``."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from u2net.model.checkpoint import Checkpoint
from u2net.model.network import OUTPUT_NAMES
from u2net.model.opening import open_session
from u2net.runtime import PRESETS, InputError, Session
from u2net.runtime.device import CPU


@pytest.fixture(scope="module")
def eager(checkpoint: Checkpoint) -> Session:
    """The bundled network in eager PyTorch at 64×64."""
    return open_session(checkpoint, CPU, size=(64, 64))


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("size", [(64, 64), (75, 100)])
def test_outputs_are_those_of_the_network(eager: Session, checkpoint: Checkpoint, size: tuple[int, int]) -> None:
    tensor = noise(2, 3, *size)
    with torch.inference_mode():
        wanted = checkpoint.network(tensor)

    found = eager.infer(tensor.numpy())

    assert list(found) == list(OUTPUT_NAMES)
    for name, values in found.items():
        np.testing.assert_array_equal(values, getattr(wanted, name).numpy())


def test_a_device_array_gives_device_arrays_of_the_outputs_asked_for(eager: Session) -> None:
    tensor = noise(1, 3, 64, 64)

    found = eager.infer(tensor, ["d3"])

    assert list(found) == ["d3"]
    assert isinstance(found["d3"], torch.Tensor)
    np.testing.assert_array_equal(found["d3"].numpy(), eager.infer(tensor.numpy())["d3"])


def test_outputs_are_written_to_the_arrays_given(eager: Session) -> None:
    tensor, target = noise(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)

    found = eager.infer(tensor, {"d0": target})

    assert found == {"d0": target}
    np.testing.assert_array_equal(target.numpy(), eager.infer(tensor.numpy())["d0"])


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (torch.zeros(1, 1, 32, 64), r"output 'd0' is \(1, 1, 64, 64\), its array \(1, 1, 32, 64\)"),
        (torch.zeros(1, 1, 64, 64, dtype=torch.float16), "torch.float16"),
        (torch.zeros(64, 64), r"\(64, 64\)"),
        (torch.zeros(1, 1, 64, 64, device="meta"), "on meta"),
        (torch.zeros(1, 1, 64, 64).tolist(), "got list"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(eager: Session, target: object, found: str) -> None:
    with pytest.raises(InputError, match=found):
        eager.infer(noise(1, 3, 64, 64), {"d0": target})


@pytest.mark.parametrize(
    ("shape", "found"),
    [((1, 4, 64, 64), r"N×3×H×W; got \(1, 4, 64, 64\)"), ((1, 3, 64, 16), "16"), ((0, 3, 64, 64), "0")],
)
def test_a_device_array_that_is_no_input_is_refused(
    eager: Session, shape: tuple[int, int, int, int], found: str
) -> None:
    with pytest.raises(InputError, match=found):
        eager.infer(noise(*shape))


def test_a_checkpoint_says_what_it_is_and_assumes_its_preset(checkpoint: Checkpoint) -> None:
    info = open_session(checkpoint.path, CPU).info

    assert (info.path, info.variant, info.precision) == (checkpoint.path, "u2netp", "fp32")
    assert info.checkpoint_sha256 == checkpoint.sha256
    assert info.preset == PRESETS["reference"]
    assert not info.preset_stated


def test_a_file_states_its_preset_whatever_is_assumed(small_onnx: Path) -> None:
    info = open_session(small_onnx, CPU, assumed=PRESETS["rembg"]).info

    assert info.preset == PRESETS["reference"].with_size(160, 160)
    assert info.preset_stated


def test_a_preset_that_replaces_the_stated_one_is_not_stated(small_onnx: Path) -> None:
    assert not open_session(small_onnx, CPU, preset=PRESETS["rembg"]).info.preset_stated


@pytest.mark.parametrize("preset", [PRESETS["rembg"], replace(PRESETS["raw"], name="mine")])
def test_a_checkpoint_takes_any_preset(checkpoint: Checkpoint, preset: object) -> None:
    assert open_session(checkpoint, CPU, preset=preset).info.preset == preset  # type: ignore[arg-type]
