"""Options, data sets and outputs that are refused, and where a training starts. Modules: start, train_options."""

import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.model.training.conftest import OPTIONS, RECIPE, Trained
from u2net.model.checkpoint import load_checkpoint
from u2net.model.training import TrainOptions, train_network
from u2net.model.training.start import stop_on_signals
from u2net.runtime.device import CUDA
from u2net.runtime.errors import DatasetError, DeviceError, InputError


def test_a_second_ctrl_c_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as received:
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)


def test_masks_of_ones_are_refused(scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes, tmp_path / "data")
    for path in (tmp_path / "data" / "masks").iterdir():
        Image.fromarray((np.asarray(Image.open(path)) > 127).astype(np.uint8)).save(path)

    with pytest.raises(DatasetError, match="no mask has a value above 128, the largest is 1; a mask is 255 where"):
        train_network(tmp_path / "data", tmp_path / "run", OPTIONS)


def test_some_masks_of_ones_are_told(scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(scenes, tmp_path / "data")
    path = sorted((tmp_path / "data" / "masks").iterdir())[0]
    Image.fromarray((np.asarray(Image.open(path)) > 127).astype(np.uint8)).save(path)

    train_network(tmp_path / "data", tmp_path / "run", replace(OPTIONS, epochs=1))

    assert "1 of 7 masks have no value above 128" in caplog.text and caplog.text.rstrip().endswith(str(path))


def test_an_output_that_cannot_be_written_is_refused_before_the_work(scenes: Path, tmp_path: Path) -> None:
    for name, make, found in (
        ("log", Path.touch, "log is not a folder"),
        ("u2netp.safetensors", Path.mkdir, r"u2netp\.safetensors is a folder"),
        ("last.ckpt", Path.mkdir, r"last\.ckpt is a folder"),
    ):
        make(tmp_path / name)
        with pytest.raises(InputError, match=found):
            train_network(scenes, tmp_path, OPTIONS)


def test_another_training_is_not_overwritten(trained: Trained, scenes: Path) -> None:
    files = trained[0].checkpoint, trained[0].weights
    before = [path.read_bytes() for path in files]

    with pytest.raises(InputError, match=r"last\.ckpt exists from an earlier training; continue it with --resume"):
        train_network(scenes, files[0].parent, replace(OPTIONS, seed=9))
    assert [path.read_bytes() for path in files] == before


def test_init_starts_from_given_weights(
    scenes: Path, tmp_path: Path, fresh_state: Callable[[int], dict[str, Tensor]]
) -> None:
    start = {key: value + 0.01 if key.endswith("bias") else value for key, value in fresh_state(1).items()}
    torch.save(start, tmp_path / "start.pth")
    still = replace(RECIPE, learning_rate=1e-12)

    options = replace(OPTIONS, recipe=still, epochs=1, init=str(tmp_path / "start.pth"))
    result = train_network(str(scenes), str(tmp_path), options)

    network = load_checkpoint(result.weights).network
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter, start[name], atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize(("variant", "channels"), [("u2net", 1), ("u2netp", 4)])
def test_init_of_another_kind_is_refused(
    scenes: Path, tmp_path: Path, fresh_state: Callable[[int], dict[str, Tensor]], variant: str, channels: int
) -> None:
    torch.save(fresh_state(channels), tmp_path / "start.pth")

    with pytest.raises(
        InputError, match=f"holds u2netp with {channels} output channels, but training is for one, and for {variant}"
    ):
        train_network(scenes, tmp_path, replace(OPTIONS, variant=variant, init=tmp_path / "start.pth"))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"variant": "u2netx"}, "u2net, u2netp"),
        ({"recipe": replace(RECIPE, batch=1)}, r"at least 2 .* got 1"),
        ({"epochs": 0}, "epochs"),
        ({"val_fraction": 0.0}, "validation fraction"),
        ({"val_fraction": 1.0}, "validation fraction"),
        ({"val_fraction": float("nan")}, "validation fraction"),
        ({"minutes": 0.0}, "minutes"),
        ({"minutes": float("nan")}, "minutes"),
        ({"pause": -3.0}, "pause"),
        ({"devices": 0}, "devices"),
        ({"devices": 2}, "a batch of 2 cannot be shared by 2 devices"),
        ({"seed": -1}, "a seed is from 0"),
        ({"seed": 2**63}, "a seed is from 0"),
        ({"recipe": replace(RECIPE, precision="16-mixed")}, "16-mixed is for GPUs"),
        ({"init": Path("net.pth"), "resume": True}, "--init or --resume"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(
    scenes: Path, tmp_path: Path, change: dict[str, Any], found: str
) -> None:
    with pytest.raises(InputError, match=found):
        train_network(scenes, tmp_path / "run", replace(OPTIONS, **change))
    assert not (tmp_path / "run").exists()


def test_a_missing_device_is_a_device_error(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(DeviceError, match="cuda"):
        train_network(scenes, tmp_path, replace(OPTIONS, device=CUDA))


def test_too_few_pictures_for_a_batch_are_refused(scenes: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, recipe=replace(RECIPE, batch=8))

    with pytest.raises(InputError, match=r"8 pairs less 1 held out .* one batch of 8"):
        train_network(scenes, tmp_path, options)


@pytest.mark.parametrize(
    ("options", "progress"),
    [
        (TrainOptions(), 4 / 1000),
        (TrainOptions(epochs=1), 0.4),
        (TrainOptions(minutes=1), 0.5),
        (TrainOptions(epochs=1, minutes=1), 0.5),
        (TrainOptions(epochs=1, minutes=2), 0.4),
        (TrainOptions(epochs=1, minutes=0.25), 1.0),
    ],
)
def test_progress_is_the_larger_share_of_epochs_and_minutes(options: TrainOptions, progress: float) -> None:
    assert options.progress(4, 30, steps_per_epoch=10) == pytest.approx(progress)
