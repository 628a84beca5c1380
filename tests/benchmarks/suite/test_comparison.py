"""Covers benchmarks/suite/comparison.py and cli/compare.py."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from u2net.benchmarks.report import as_json
from u2net.benchmarks.statistics import compare, summarize
from u2net.benchmarks.suite.comparison import compare_reports
from u2net.benchmarks.suite.contestants import EVERYWHERE
from u2net.benchmarks.suite.rows import Fidelity, Row
from u2net.cli.compare import compare_suites
from u2net.runtime.errors import InputError

ROUNDS = 15


def report(path: Path, seed: int, slowdown: float = 1.0, mean: float = 1e-4) -> Path:
    """Write a report of one contestant that takes 200 ms ± 2 % where eager PyTorch takes 450."""
    draw = np.random.default_rng(seed).normal(1, 0.02, (2, ROUNDS))
    eager, seconds = list(0.45 * draw[0]), list(0.2 * slowdown * draw[1])
    row = Row(EVERYWHERE[2], "u2netp", 1, wall=summarize(seconds), ratio=compare(eager, seconds))
    row.fidelity = Fidelity(8, 0.999, mean, 0.01)
    path.write_text(json.dumps({"rows": as_json([row])}), encoding="utf-8")
    return path


def test_two_honest_runs_pass(tmp_path: Path) -> None:
    for seed in range(20):
        assert compare_reports(report(tmp_path / "a", 2 * seed), report(tmp_path / "b", 2 * seed + 1)) == []


def test_a_slowdown_by_a_fifth_is_caught(tmp_path: Path) -> None:
    (change,) = compare_reports(report(tmp_path / "a", 1), report(tmp_path / "b", 2, slowdown=1.2))

    assert change.startswith("our FP32 graph, ONNX Runtime, u2netp, batch 1: slower: 2.2")


def test_a_wrong_mean_is_caught(tmp_path: Path) -> None:
    (change,) = compare_reports(report(tmp_path / "a", 1), report(tmp_path / "b", 1, mean=3e-4))

    assert change.endswith("less exact: mean difference 1.0e-04, now 3.0e-04")


def change_row(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    values = json.loads(path.read_text(encoding="utf-8"))
    row = copy.deepcopy(values["rows"][0])
    change(row)
    path.write_text(json.dumps({"rows": [row]}), encoding="utf-8")
    return path


def test_lost_figures_and_a_smaller_iou_are_told(tmp_path: Path) -> None:
    old, new = report(tmp_path / "a", 1), report(tmp_path / "b", 1)

    (lost,) = compare_reports(old, change_row(new, lambda row: row.update(wall=None, error="it crashed")))
    assert lost.endswith("has no figures any more: it crashed")
    new = change_row(report(tmp_path / "b", 1), lambda row: row["fidelity"].update(iou=0.99))
    (worse,) = compare_reports(old, new)
    assert worse.endswith("IoU 0.9990, now 0.9900")


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{}]}', '{"rows": 3}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=r"other\.json is not a report that `u2net bench --suite` wrote"):
        compare_reports(report(tmp_path / "a", 1), tmp_path / "other.json")


def test_reports_without_a_common_row_are_refused(tmp_path: Path) -> None:
    new = change_row(report(tmp_path / "b", 1), lambda row: row.update(network="u2net"))

    with pytest.raises(InputError, match="no row in common"):
        compare_reports(report(tmp_path / "a", 1), new)


@pytest.mark.parametrize(("slowdown", "status"), [(1.0, 0), (1.2, 1)])
def test_the_exit_status_says_if_anything_got_worse(tmp_path: Path, slowdown: float, status: int) -> None:
    with pytest.raises(typer.Exit) as stop:
        compare_suites(report(tmp_path / "a", 1), report(tmp_path / "b", 2, slowdown))

    assert stop.value.exit_code == status
