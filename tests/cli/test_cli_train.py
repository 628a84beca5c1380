import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.scenes import write_scenes
from u2net.model.checkpoint import load_checkpoint
from u2net.model.metrics import SaliencyScores
from u2net.model.training import Phase, Recipe, StatusCallback, TrainOptions, TrainResult, TrainStatus, find_recipe
from u2net.runtime.device import CPU, CUDA


def test_an_epoch_on_eight_scenes(run_u2net: Command, tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", 8, size=48)
    words = "--size 48 --crop 32 --batch 2 --epochs 1 --lr 0.0005 --seed 3"

    said = run_u2net("train", tmp_path / "scenes", "-o", tmp_path / "run", *words.split())

    assert said.returncode == 0
    assert load_checkpoint(tmp_path / "run" / "u2netp.safetensors").variant == "u2netp"
    (scores,) = re.findall(
        r"u2netp\.safetensors: MAE (\S+), max-F (\S+), IoU (\S+) on 1 held-out picture\n", said.stdout
    )
    assert all(0 <= float(score) <= 1 for score in scores)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", TrainOptions()),
        ("--variant u2net --epochs 7 --seed 5", TrainOptions(variant="u2net", epochs=7, seed=5)),
        (
            "--size 160 --crop 128 --batch 4 --lr 0.01",
            TrainOptions(recipe=Recipe(size=160, phases=(Phase(0.0, 128),), batch=4, learning_rate=0.01)),
        ),
        ("--recipe fast", TrainOptions(recipe=find_recipe("fast", CPU))),
        (
            "--recipe fast --device cuda",
            TrainOptions(recipe=find_recipe("fast", CUDA), device=CUDA),
        ),
        ("--minutes 90 --pause 8.5 --init net.pth", TrainOptions(minutes=90, pause=8.5, init=Path("net.pth"))),
        (
            "--init net.pth --freeze 2",
            TrainOptions(recipe=find_recipe("authors", CPU).with_overrides(frozen=2), init=Path("net.pth")),
        ),
        ("--resume --devices 4", TrainOptions(resume=True, devices=4)),
        (
            "--augmentation composed --optimizer muon",
            TrainOptions(recipe=replace(find_recipe("authors", CPU), augmentation="composed", optimizer="muon")),
        ),
        (
            "--precision bf16-mixed",
            TrainOptions(recipe=find_recipe("authors", CPU).with_overrides(precision="bf16-mixed")),
        ),
    ],
)
def test_options_reach_the_training(
    run_u2net: Command, monkeypatch: pytest.MonkeyPatch, words: str, options: TrainOptions
) -> None:
    asked: list[object] = []

    def train_network(folder: Path, output: Path, options: TrainOptions, report: StatusCallback) -> TrainResult:
        asked.extend((folder, output, options))
        report(TrainStatus("reading", 0.5))
        for progress in (0.5, 0.501, 0.512):
            report(TrainStatus("training", progress, loss=1.5, images_per_second=9, waiting=0.1))
        scores = SaliencyScores(
            9, 0.125, 0.75, mean_f=0.7, weighted_f=0.6, s_measure=0.8, e_measure=0.8, iou=0.5, boundary_f=0.4
        )
        report(TrainStatus("validated", 0.512, scores=scores))
        return TrainResult(Path("w"), Path("c"), 1, scores)

    monkeypatch.setattr("u2net.model.training.train_network", train_network)

    said = run_u2net("train", "data", "-o", "there", *words.split())

    found = "MAE 0.1250, max-F 0.7500, IoU 0.5000 on 9 held-out pictures\n"
    assert said.stdout == f"w: {found}"
    assert said.stderr == "".join(
        (
            " 50% training: loss 1.500, 9.0 images/s, 10% waiting for data\n",
            " 51% training: loss 1.500, 9.0 images/s, 10% waiting for data\n",
            f" 51% validated: {found}",
        )
    )
    assert asked == [Path("data"), Path("there"), options]
