"""A training shared by two processes, started by --devices and by torchrun."""

import subprocess
import sys
from pathlib import Path

import torch

from u2net.model.checkpoint import load_checkpoint

U2NET = Path(sys.executable).with_name("u2net")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
WORDS = "--recipe fast --size 48 --crop 32 --batch 4 --epochs 2 --precision 32-true"


def run_training(scenes: Path, output: Path, *words: str, launcher: tuple[str, ...] = ()) -> str:
    """Return the standard output of a training on two processes."""
    command = [*launcher, str(U2NET), "train", str(scenes), "-o", str(output), *WORDS.split(), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_train_pause_and_resume_as_one_run(scenes: Path, tmp_path: Path) -> None:
    whole = run_training(scenes, tmp_path / "whole", "--devices", "2")

    paused = run_training(scenes, tmp_path / "parts", "--pause", "0.00001", launcher=TORCHRUN)
    resumed = run_training(scenes, tmp_path / "parts", "--resume", launcher=TORCHRUN)

    assert "paused at 50%" in paused
    for said in (whole, paused, resumed):
        assert said.count("u2netp.safetensors: ") == 1  # the other process prints nothing
    assert whole.partition(": ")[2] == resumed.partition(": ")[2]
    weights = [load_checkpoint(tmp_path / name / "last.ckpt").network.state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
