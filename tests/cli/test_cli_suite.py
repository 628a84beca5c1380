"""Covers cli/suite.py and benchmarks/suite/report.py."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Command = Callable[..., CompletedProcess[str]]


def test_the_suite_prints_and_writes_every_contestant(
    run_u2net: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("u2net.benchmarks.suite.cells.CALLERS", (1, 2))
    monkeypatch.setattr("u2net.benchmarks.suite.suite.PICTURE_SIZES", ((90, 120),))
    contestants = ("--contestants", "onnxruntime-fp32,rembg")
    words = (*contestants, "--networks", "u2netp", "--batches", 1, "--rounds", 2, "--name", "page")

    said = run_u2net("bench", "--suite", *words, "-o", tmp_path, "--work", tmp_path / "work")

    assert said.returncode == 0, said.stderr
    written = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    titles = [row["contestant"]["title"] for row in written["rows"]]
    assert titles == ["eager PyTorch FP32", "our FP32 graph, ONNX Runtime", "rembg's session"]
    for title in titles:
        assert title in said.stdout and f"| {title} | u2netp | 1 |" in page
    for text in (said.stdout, page):
        assert "not here: no Python was named for it; --python rembg=PATH does" in text
    assert "| our FP32 graph, ONNX Runtime | u2netp | 90×120 |" in page
    assert page.count("| knee |") == 2  # the heading, and one number of callers


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--networks vgg", "networks are u2net, u2netp; got vgg"),
        ("--batches 0", "batch sizes are at least 1"),
        ("--batches one", "--batches takes whole numbers"),
        ("--contestants nobody", "there is no contestant nobody on cpu; there are eager-fp32"),
        ("--rounds 1", "at least 2 rounds"),
        ("--minutes 0", "limits above 0 minutes"),
        ("--build-minutes 0", "limits above 0 minutes"),
        ("--opt-level 6", "the optimization level is 0 to 5; got 6"),
        ("--threads 0", "threads must be at least 1"),
        ("--python rembg", "--python is NAME=PATH"),
        ("--python rembg=nowhere/python", "there is no program nowhere/python"),
        ("--images nowhere", "nowhere"),
        ("--checkpoint nowhere.pth", "nowhere.pth"),
    ],
)
def test_a_mistake_is_one_line(run_u2net: Command, tmp_path: Path, words: str, said: str) -> None:
    result = run_u2net("bench", "--suite", *words.split(), "-o", tmp_path, "--work", tmp_path)

    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("suite.*"))
