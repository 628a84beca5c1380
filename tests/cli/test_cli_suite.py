"""Covers cli/suite.py, benchmarks/suite/report.py and gallery.py."""

import json
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Command, Run
from u2net.benchmarks.schema import schema_file


def test_the_suite_prints_and_writes_every_contestant(suite_run: Run) -> None:
    folder, said = suite_run

    assert said.returncode == 0, said.stderr
    written = json.loads((folder / "page.json").read_text(encoding="utf-8"))
    page = (folder / "page.md").read_text(encoding="utf-8")
    titles = [row["contestant"]["title"] for row in written["rows"]]
    assert titles == ["eager PyTorch FP32", "our FP32 graph, ONNX Runtime", "rembg's session"]
    for title in titles:
        assert title in said.stdout and f"| {title} | u2netp | 1 |" in page
    for text in (said.stdout, page):
        assert "not here: it needs a Python of its own; name one with --python rembg=PATH" in text
    assert "| our FP32 graph, ONNX Runtime | u2netp | 120×90 |" in page
    assert page.count("| knee |") == 2  # the heading, and one number of callers


def test_the_report_is_as_its_schema_says(suite_run: Run) -> None:
    schema = json.loads(schema_file("suite").read_text(encoding="utf-8"))
    report = json.loads((suite_run[0] / "page.json").read_text(encoding="utf-8"))

    jsonschema.validate(report, schema)
    for broken in ({"median_ms": "fast", "p90_ms": 1.0, "p99_ms": 1.0}, {"median_ms": 1.0}):
        report["rows"][0]["wall"] = broken
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(report, schema)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--networks vgg", "networks are u2net, u2netp; got vgg"),
        ("--batches 0", "batch is a whole number"),
        ("--batches one", "--batches takes whole numbers"),
        ("--contestants nobody", "there is no contestant nobody on cpu; there are eager-fp32"),
        ("--rounds 1", "at least 2 rounds"),
        ("--minutes 0", "limits above 0 minutes"),
        ("--build-minutes 0", "limits above 0 minutes"),
        ("--opt-level 6", "the optimization level is 0 to 5; got 6"),
        ("--threads 0", "threads is a whole number"),
        ("--python rembg", "--python is NAME=PATH"),
        ("--python rembg=nowhere/python", "there is no program nowhere/python"),
        ("--images nowhere", "nowhere"),
        ("-o /dev/null", "/dev/null cannot be created as a folder"),
        ("--growth 0", "growth is a bound of memory in GB"),
        ("model.onnx", "unexpected extra argument"),
        ("--checkpoint nowhere.pth", "nowhere.pth"),
    ],
)
def test_a_mistake_is_one_line(run_u2net: Command, tmp_path: Path, words: str, said: str) -> None:
    result = run_u2net("bench", "-o", tmp_path / "report", *words.split(), "--suite", "--work", tmp_path)

    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "report").exists()
