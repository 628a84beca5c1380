import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from u2net.model.checkpoint import load_checkpoint
from u2net.model.metrics import SaliencyScores
from u2net.model.synthetic import write_scenes
from u2net.model.training import RECIPES, Recipe, TrainOptions, TrainResult

Command = Callable[..., CompletedProcess[str]]


def test_an_epoch_on_eight_scenes(run_u2net: Command, tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", 8, size=48)
    words = "--size 48 --crop 32 --batch 2 --epochs 1 --lr 0.0005 --seed 3"

    said = run_u2net("train", tmp_path / "scenes", "-o", tmp_path / "run", *words.split())

    assert said.returncode == 0
    assert load_checkpoint(tmp_path / "run" / "u2netp.safetensors").variant == "u2netp"
    (scores,) = re.findall(
        r"u2netp\.safetensors: MAE (\S+), max-F (\S+), IoU (\S+) on 1 held-out pictures\n", said.stdout
    )
    assert all(0 <= float(score) <= 1 for score in scores)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", TrainOptions()),
        ("--variant u2net --epochs 7 --seed 5", TrainOptions(variant="u2net", epochs=7, seed=5)),
        ("--size 160 --crop 128 --batch 4 --lr 0.01", TrainOptions(recipe=Recipe(160, 128, 4, 0.01))),
        ("--recipe authors --batch 8", TrainOptions(recipe=RECIPES["authors"].with_overrides(None, None, 8, None))),
        ("--minutes 90 --init net.pth", TrainOptions(minutes=90, init=Path("net.pth"))),
        ("--resume --precision bf16-mixed", TrainOptions(resume=True, precision="bf16-mixed")),
        ("--workers 2 --device cuda --devices 4", TrainOptions(workers=2, device="cuda", devices=4)),
    ],
)
def test_options_reach_the_training(
    run_u2net: Command, monkeypatch: pytest.MonkeyPatch, words: str, options: TrainOptions
) -> None:
    asked: list[object] = []

    def train(folder: Path, output: Path, options: TrainOptions) -> TrainResult:
        asked.extend((folder, output, options))
        scores = SaliencyScores(
            9, 0.125, 0.75, mean_f=0.7, weighted_f=0.6, s_measure=0.8, e_measure=0.8, iou=0.5, boundary_f=0.4
        )
        return TrainResult(Path("w"), Path("c"), scores)

    monkeypatch.setattr("u2net.model.training.train", train)

    said = run_u2net("train", "data", "-o", "there", *words.split())

    assert said.stdout == "w: MAE 0.1250, max-F 0.7500, IoU 0.5000 on 9 held-out pictures\n"
    assert asked == [Path("data"), Path("there"), options]
