"""Saving and resuming, also of a training that two processes share. Module: state."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor

from tests.model.conftest import Intruder
from tests.model.training.conftest import OPTIONS, RECIPE, STEPS, Cramped, Trained
from tests.scenes import write_scenes
from u2net.model.checkpoint import load_checkpoint
from u2net.model.training import Phase, train_network
from u2net.model.training.recipes import OptimizerName
from u2net.runtime.errors import CheckpointError, InputError, TrainingError
from u2net.runtime.files import locked_folder

EVERYTHING = replace(
    RECIPE,
    phases=(Phase(0.0, 32), Phase(0.3, 48, frozen=2), Phase(0.6, 48)),
    augmentation="strong",
    optimizer="adamw",
    weight_decay=0.01,
    annealed=True,
    warmup=0.2,
    ema=0.9,
)
"""A recipe with every part that has a state."""

U2NET = Path(sys.executable).with_name("u2net")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
WORDS = "--recipe fast --size 48 --crop 32 --batch 4 --epochs 2 --precision 32-true"


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_training_interrupted_after_every_step_ends_in_the_same_weights(
    scenes: Path, tmp_path: Path, optimizer: OptimizerName
) -> None:
    options = replace(OPTIONS, recipe=replace(EVERYTHING, optimizer=optimizer))
    whole = train_network(scenes, tmp_path / "whole", options)

    progress = []
    for leg in range(2 * STEPS):
        part = train_network(scenes, tmp_path / "parts", replace(options, pause=1e-9, resume=leg > 0))
        progress.append(part.progress)

    assert progress == pytest.approx([step / (2 * STEPS) for step in range(1, 2 * STEPS + 1)])
    states = [torch.load(run.checkpoint, weights_only=True) for run in (whole, part)]
    for name in ("ema", "model"):
        assert all(torch.equal(value, states[1][name][key]) for key, value in states[0][name].items())
    moments = [state["optimizer"]["state"] for state in states]
    assert all(torch.equal(each[name], moments[1][key][name]) for key, each in moments[0].items() for name in each)
    assert any("momentum" in each for each in moments[0].values()) == (optimizer == "muon")
    assert part.scores == whole.scores


def test_resuming_is_exact_in_too_little_memory(scenes: Path, tmp_path: Path, cramped: Cramped) -> None:
    options = replace(OPTIONS, recipe=replace(RECIPE, batch=6))
    whole = train_network(scenes, tmp_path / "whole", options)

    train_network(scenes, tmp_path / "parts", replace(options, pause=1e-9))
    parts = train_network(scenes, tmp_path / "parts", replace(options, resume=True))

    assert cramped.sizes == [6, 3, 3, 3, 3] * 2
    weights = [load_checkpoint(run.weights).network.state_dict() for run in (whole, parts)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_budget_of_the_checkpoint_holds_where_none_is_given(scenes: Path, tmp_path: Path) -> None:
    train_network(scenes, tmp_path, replace(OPTIONS, epochs=2, pause=1e-9))

    half = train_network(scenes, tmp_path, replace(OPTIONS, epochs=None, resume=True, pause=1e-9))
    longer = train_network(scenes, tmp_path, replace(OPTIONS, epochs=4, resume=True, pause=1e-9))

    assert half.progress == pytest.approx(2 / (2 * STEPS))
    assert longer.progress == pytest.approx(3 / (4 * STEPS))


def test_a_finished_training_is_resumed_without_a_step(
    scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = load_checkpoint(train_network(scenes, tmp_path, replace(OPTIONS, epochs=1)).weights).network.state_dict()

    assert not caplog.messages
    again = train_network(scenes, tmp_path, replace(OPTIONS, epochs=1, resume=True))
    assert caplog.messages == ["nothing is left to train; more --minutes or --epochs go on"]

    second = load_checkpoint(again.weights).network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.load(again.checkpoint, weights_only=True)["step"] == STEPS


def test_other_pictures_are_not_resumed(trained: Trained, tmp_path: Path) -> None:
    write_scenes(tmp_path / "others", 9, size=64)

    with pytest.raises(InputError, match=r"was written with data '8 pictures, \w+', not '9 pictures, \w+'"):
        train_network(tmp_path / "others", trained[0].weights.parent, replace(OPTIONS, resume=True))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"seed": 4}, "seed 3, not 4"),
        ({"val_fraction": 0.3}, r"val_fraction 0\.02, not 0\.3"),
        ({"recipe": replace(RECIPE, learning_rate=0.5)}, r"learning_rate 0\.001, not 0\.5"),
        ({"recipe": replace(RECIPE, phases=(Phase(0.0, 40),))}, "phases .*'crop': 32.*, not .*'crop': 40"),
    ],
)
def test_other_options_are_not_resumed(trained: Trained, scenes: Path, change: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=f"was written with {found}.*: resume with the same options"):
        train_network(scenes, trained[0].weights.parent, replace(OPTIONS, resume=True, **change))


def test_resuming_without_a_checkpoint_is_refused(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing to resume: .*last\.ckpt is not there"):
        train_network(scenes, tmp_path, replace(OPTIONS, resume=True))


@pytest.mark.parametrize(("kind", "found"), [("damaged", "cannot be read"), ("code", "refused"), ("other", "--init")])
def test_a_checkpoint_that_no_training_wrote_is_neither_resumed_nor_run(
    scenes: Path, tmp_path: Path, fresh_state: Callable[[int], dict[str, Tensor]], kind: str, found: str
) -> None:
    last, trace = tmp_path / "last.ckpt", tmp_path / "trace"
    torch.save({"model": fresh_state(1), "choices": Intruder(trace) if kind == "code" else None}, last)
    if kind == "damaged":
        last.write_bytes(last.read_bytes()[:1000])

    with pytest.raises(CheckpointError, match=rf"last\.ckpt .*{found}"):
        train_network(scenes, tmp_path, replace(OPTIONS, resume=True))
    assert not trace.exists()


@pytest.mark.parametrize("key", ["model", "optimizer"])
def test_a_checkpoint_whose_values_were_changed_is_refused(
    trained: Trained, scenes: Path, tmp_path: Path, key: str
) -> None:
    state = torch.load(trained[0].checkpoint, weights_only=True)
    torch.save({**state, key: {}}, tmp_path / "last.ckpt")

    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged .*--init"):
        train_network(scenes, tmp_path, replace(OPTIONS, resume=True))


def test_a_folder_that_another_training_writes_is_refused(scenes: Path, tmp_path: Path) -> None:
    with locked_folder(tmp_path), pytest.raises(InputError, match="another process is writing"):
        train_network(scenes, tmp_path, OPTIONS)


def test_names_need_not_be_unicode(scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes, tmp_path / "odd")
    for path in list((tmp_path / "odd").rglob("0000.*")):
        path.rename(path.with_name(os.fsdecode(b"\xff") + path.suffix))

    assert train_network(tmp_path / "odd", tmp_path / "run", replace(OPTIONS, epochs=1)).scores


@pytest.fixture
def small_files() -> Iterator[None]:
    """Make the system refuse files above 6 MB: enough for the weights, but not for the optimizer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_the_weights_are_kept_where_the_checkpoint_does_not_fit(scenes: Path, tmp_path: Path) -> None:
    weights = tmp_path / "u2netp.safetensors"

    with pytest.raises(TrainingError, match=rf"last\.ckpt cannot be written: .*; the weights .* {weights}"):
        train_network(scenes, tmp_path, replace(OPTIONS, epochs=1))

    assert load_checkpoint(weights).variant == "u2netp"
    assert {path.name for path in tmp_path.iterdir()} == {weights.name, "log"}
    with pytest.raises(InputError, match=r"safetensors exists from an earlier training"):
        train_network(scenes, tmp_path, replace(OPTIONS, epochs=1))


def test_a_full_disk_is_named(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("u2net.model.training.state.save_weights", fail)

    with pytest.raises(TrainingError, match=r"u2netp\.safetensors cannot be written: (?i:no space left on)"):
        train_network(scenes, tmp_path, replace(OPTIONS, pause=1e-9))


def run_training(scenes: Path, output: Path, *words: str, launcher: tuple[str, ...] = ()) -> str:
    """Train on two processes, which --devices or torchrun starts; return the standard output."""
    command = [*launcher, str(U2NET), "train", str(scenes), "-o", str(output), *WORDS.split(), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_train_pause_and_resume_as_one_run(scenes: Path, tmp_path: Path) -> None:
    whole = run_training(scenes, tmp_path / "whole", "--devices", "2")

    paused = run_training(scenes, tmp_path / "parts", "--pause", "0.00001", launcher=TORCHRUN)
    resumed = run_training(scenes, tmp_path / "parts", "--resume", launcher=TORCHRUN)

    assert "paused at 50%; go on with --resume" in paused.replace("\n", "")
    for said in (whole, paused, resumed):
        assert said.count("u2netp.safetensors: ") == 1  # the other process prints nothing
    assert whole.partition(": ")[2] == resumed.partition(": ")[2]
    weights = [load_checkpoint(tmp_path / name / "last.ckpt").network.state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
