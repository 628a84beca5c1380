"""Covers benchmarks/suite/comparison.py and cli/compare.py."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from u2net.benchmarks.statistics import compare, summarize
from u2net.benchmarks.suite.comparison import compare_reports
from u2net.benchmarks.suite.contestants import EVERYWHERE
from u2net.benchmarks.suite.rows import Fidelity, Row
from u2net.benchmarks.writing import as_json
from u2net.cli.compare import compare_suites
from u2net.runtime.errors import InputError

ROUNDS = 15
QUIET = {"machine": {"processor": "A", "gpu": None}, "noise": {"spread": 0.05, "foreign_load": 0.01}}
"""The rest of a report, as far as it is compared."""


def report(path: Path, seed: int, slowdown: float = 1.0, mean: float = 1e-4) -> Path:
    """Write a report of one contestant that takes 200 ms ± 2 % where eager PyTorch takes 450."""
    draw = np.random.default_rng(seed).normal(1, 0.02, (2, ROUNDS))
    eager, seconds = list(0.45 * draw[0]), list(0.2 * slowdown * draw[1])
    row = Row(EVERYWHERE[2], "u2netp", 1, wall=summarize(seconds), ratio=compare(eager, seconds))
    row.fidelity = Fidelity(8, 0.999, mean, 0.01)
    path.write_text(json.dumps({**QUIET, "rows": as_json([row])}), encoding="utf-8")
    return path


def test_two_honest_runs_pass(tmp_path: Path) -> None:
    for seed in range(20):
        assert compare_reports(report(tmp_path / "a", 2 * seed), report(tmp_path / "b", 2 * seed + 1)).found == ()


def test_a_slowdown_by_a_fifth_is_caught(tmp_path: Path) -> None:
    (change,) = compare_reports(report(tmp_path / "a", 1), report(tmp_path / "b", 2, slowdown=1.2)).found

    assert change.startswith("our FP32 graph, ONNX Runtime, u2netp, batch 1: slower: 2.2")


def test_a_wrong_mean_is_caught(tmp_path: Path) -> None:
    (change,) = compare_reports(report(tmp_path / "a", 1), report(tmp_path / "b", 1, mean=3e-4)).found

    assert change.endswith("less exact: mean difference 1.0e-04, now 3.0e-04")


def test_maps_of_nan_are_caught(tmp_path: Path) -> None:
    (change,) = compare_reports(report(tmp_path / "a", 1), report(tmp_path / "b", 1, mean=float("inf"))).found

    assert change.endswith("less exact: mean difference 1.0e-04, now inf")


def change_row(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    values = json.loads(path.read_text(encoding="utf-8"))
    row = copy.deepcopy(values["rows"][0])
    change(row)
    path.write_text(json.dumps({**values, "rows": [row]}), encoding="utf-8")
    return path


def test_lost_figures_and_a_smaller_iou_are_told(tmp_path: Path) -> None:
    old, new = report(tmp_path / "a", 1), report(tmp_path / "b", 1)

    (lost,) = compare_reports(old, change_row(new, lambda row: row.update(wall=None, error="it crashed"))).found
    assert lost.endswith("has no figures any more: it crashed")
    new = change_row(report(tmp_path / "b", 1), lambda row: row["fidelity"].update(iou=0.99))
    (worse,) = compare_reports(old, new).found
    assert worse.endswith("IoU 0.9990, now 0.9900")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"machine": {"processor": "B", "gpu": None}}, "a is of A, .*b of B"),
        ({"machine": {"processor": "A", "gpu": "H200"}}, "a is of A, .*b of H200"),
        ({"noise": {"spread": 0.9, "foreign_load": 0.0}}, "the machine of .*b was busy"),
    ],
)
def test_speeds_of_other_hardware_and_of_a_busy_machine_are_not_compared(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    old, new = report(tmp_path / "a", 1), report(tmp_path / "b", 2, slowdown=2, mean=1e-2)
    new.write_text(json.dumps(json.loads(new.read_text(encoding="utf-8")) | change), encoding="utf-8")

    changes = compare_reports(old, new)

    assert re.search(f"^speeds are not compared: .*{why}$", changes.note)
    assert [each.rpartition(": ")[2][:15] for each in changes.found] == ["mean difference"]


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{}]}', '{"rows": 3}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=r"other\.json is not a report that `u2net bench` wrote"):
        compare_reports(report(tmp_path / "a", 1), tmp_path / "other.json")


def test_reports_without_a_common_row_are_refused(tmp_path: Path) -> None:
    new = change_row(report(tmp_path / "b", 1), lambda row: row.update(network="u2net"))

    with pytest.raises(InputError, match="no row in common"):
        compare_reports(report(tmp_path / "a", 1), new)


def test_a_row_that_is_missing_is_told(tmp_path: Path) -> None:
    old, new = report(tmp_path / "a", 1), report(tmp_path / "b", 1)
    values = json.loads(old.read_text(encoding="utf-8"))
    values["rows"] += [{**values["rows"][0], "batch": 4}, {**values["rows"][0], "batch": 8, "wall": None}]
    old.write_text(json.dumps(values), encoding="utf-8")

    assert compare_reports(old, new).found == (f"our FP32 graph, ONNX Runtime, u2netp, batch 4: is not in {new}",)
    assert compare_reports(new, old).found == ()


@pytest.mark.parametrize(("slowdown", "status"), [(1.0, 0), (1.2, 1)])
def test_the_exit_status_says_if_anything_got_worse(tmp_path: Path, slowdown: float, status: int) -> None:
    with pytest.raises(typer.Exit) as stop:
        compare_suites(report(tmp_path / "a", 1), report(tmp_path / "b", 2, slowdown))

    assert stop.value.exit_code == status
