import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from u2net.benchmarks import BenchOptions
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import InputError
from u2net.runtime.device import Device


@pytest.mark.usefixtures("quick_bench")
def test_two_batch_sizes_as_table_and_json(run_u2net: Command, built_onnx: Path, tmp_path: Path) -> None:
    words = ("--batch", "1,2", "--rounds", 2, "--threads", 2, "--json", tmp_path / "figures.json")

    said = run_u2net("bench", built_onnx, *words)

    assert said.returncode == 0
    # A slow machine gets a line of progress after some seconds of silence, and nothing else.
    assert all(line.startswith("u2netp, batch ") for line in said.stderr.splitlines()), said.stderr
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert [row["batch"] for row in figures["rows"]] == [1, 1, 2, 2]
    assert figures["rows"][0]["ratio"] == {"value": 1, "low": 1, "high": 1}
    for name, count in (("eager PyTorch", 3), ("model.onnx", 3), ("peak MB", 1), ("120×90", 2)):
        assert said.stdout.count(name) == count, name
    assert "2 threads, 2 rounds in turns, " in said.stdout
    assert said.stdout.endswith(f"Wrote {tmp_path / 'figures.json'}\n")
    assert run_u2net("bench", "--compare", *[tmp_path / "figures.json"] * 2).returncode == 0


@pytest.mark.parametrize(
    ("words", "reference", "options"),
    [
        ("", BUNDLED_WEIGHTS, BenchOptions()),
        ("--batch 1,4,16", BUNDLED_WEIGHTS, BenchOptions(batches=(1, 4, 16))),
        ("--reference net.pth --rounds 30", Path("net.pth"), BenchOptions(rounds=30)),
        ("--threads 3 --device cuda:1", BUNDLED_WEIGHTS, BenchOptions(threads=3, device=Device("cuda", 1))),
    ],
)
def test_options_reach_the_benchmark(
    run_u2net: Command, monkeypatch: pytest.MonkeyPatch, words: str, reference: Path, options: BenchOptions
) -> None:
    asked: list[object] = []

    def measure(models: list[Path], reference: Path, options: BenchOptions, _progress: object) -> None:
        asked.extend((models, reference, options))
        raise InputError("enough")

    monkeypatch.setattr("u2net.benchmarks.measure_models", measure)

    run_u2net("bench", "a.onnx", "b.onnx", *words.split())

    assert asked == [[Path("a.onnx"), Path("b.onnx")], reference, options]
