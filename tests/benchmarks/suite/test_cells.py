"""Covers all of benchmarks/suite but its report: each fault of a contestant shows as what it is."""

import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from u2net.benchmarks.noise import NoiseMeter
from u2net.benchmarks.statistics import Latency
from u2net.benchmarks.suite import cells
from u2net.benchmarks.suite.cells import Cell
from u2net.benchmarks.suite.contestants import EVERYWHERE, Contestant
from u2net.benchmarks.suite.inputs import Inputs
from u2net.benchmarks.suite.networks import find_network, make_graphs
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.rows import Load, Row, knee
from u2net.benchmarks.suite.suite import SuiteReport, run_suite
from u2net.benchmarks.suite.workers import Worker, WorkerError
from u2net.model.synthetic import make_scenes
from u2net.runtime.loading import load
from u2net.runtime.preprocess import preprocess_batch
from u2net.runtime.presets import PRESETS

SIZE = 128
FAULTY = "u2net.tests.benchmarks.suite.faulty_worker"
FAULTS = ("none", "slow", "wrong", "crash", "hang", "missing package")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> SuiteOptions:
    work = tmp_path_factory.mktemp("suite")
    return SuiteOptions(networks=("u2netp",), batches=(2,), size=SIZE, rounds=3, threads=1, callers=(), work=work)


@pytest.fixture(scope="module")
def rows(options: SuiteOptions) -> dict[str, Row]:
    """One cell, in which eager PyTorch's place is taken by the plain file."""
    network = find_network("u2netp", options)
    make_graphs(network, {"fp32"}, options)
    contestants = [Contestant("eager-fp32", "reference", "file", "fp32", "fp32", {"fault": "none"})]
    contestants += [Contestant(each, each, "file", "fp32", "fp32", {"fault": each}) for each in FAULTS]
    tensor = preprocess_batch(make_scenes(4), PRESETS["reference"].with_size(SIZE, SIZE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "Worker", partial(Worker, module=FAULTY))
        patch.setattr(cells, "PATIENCE", 5.0)
        cell = Cell(network, 2, Inputs(np.ascontiguousarray(tensor), {}), options, lambda _message: None)
        found = cell.measure(contestants, time.monotonic() + 30, NoiseMeter(2))
    return {row.contestant.key: row for row in found}


def test_an_equal_contestant_has_all_figures_and_the_same_maps(rows: dict[str, Row]) -> None:
    row = rows["none"]

    assert row.error == ""
    assert row.ratio is not None and row.ratio.low <= row.ratio.value <= row.ratio.high
    assert row.fidelity is not None and (row.fidelity.iou, row.fidelity.mean) == (1.0, 0.0)
    assert row.provider.startswith("onnxruntime")
    assert row.memory_mb is not None and row.memory_mb > 50


def test_a_slow_contestant_is_slower(rows: dict[str, Row]) -> None:
    row = rows["slow"]

    assert row.ratio is not None and row.ratio.high < 1
    assert row.wall is not None and row.wall.median_ms > 1500
    assert row.fidelity is not None and row.fidelity.iou == 1.0


def test_wrong_maps_show_beside_the_speed(rows: dict[str, Row]) -> None:
    row = rows["wrong"]

    assert row.wall is not None
    assert row.fidelity is not None and row.fidelity.iou < 0.5 and row.fidelity.mean > 0.3


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("crash", "the process ended with signal SIGSEGV; its last output: about to crash"),
        ("hang", "gave no answer within 5 s and was ended"),
        (
            "missing package",
            "opening: DependencyError: openvino is not installed; `pip install 'u2net-deploy[openvino]'`",
        ),
    ],
)
def test_a_failure_is_a_row_with_its_own_words(rows: dict[str, Row], fault: str, words: str) -> None:
    assert words in rows[fault].error
    assert rows[fault].wall is None


def test_a_python_that_was_not_named_is_asked_for(options: SuiteOptions) -> None:
    elsewhere = Contestant("rembg", "rembg's session", "rembg", "fp32", "fp32", python="rembg")
    network = find_network("u2netp", options)
    cell = Cell(network, 1, Inputs(np.zeros((1, 3, SIZE, SIZE), np.float32), {}), options, lambda _message: None)

    (row,) = cell.measure([elsewhere], time.monotonic(), NoiseMeter(2))

    assert row.error == "not here: it needs a Python of its own; name one with --python rembg=PATH"


def test_pictures_are_not_begun_after_the_end(options: SuiteOptions) -> None:
    row = Row(EVERYWHERE[0], "u2netp", 1)
    inputs = Inputs(np.zeros((1, 3, SIZE, SIZE), np.float32), {(9, 9): b""})
    cell = Cell(find_network("u2netp", options), 1, inputs, options, lambda _message: None)

    cell._time_pictures(row, time.monotonic() - 1)

    assert (row.pictures, row.warnings) == ([], ["time ran out before all pictures and callers were measured"])


def test_a_contestant_that_failed_is_ended(options: SuiteOptions) -> None:
    """An error of CUDA may last as long as its process, and the memory of one that ran out is missing to others."""
    ended = []

    class Failing:
        def __init__(self) -> None:
            self.warnings = ["careful"]

        def call(self, *_arguments: object, **_more: object) -> None:
            raise WorkerError("OutOfMemoryError: cudaMalloc")

        def end(self) -> None:
            ended.append(self)

    row = Row(EVERYWHERE[0], "u2netp", 1)
    cell = Cell(
        find_network("u2netp", options),
        1,
        Inputs(np.zeros((1, 3, SIZE, SIZE), np.float32), {}),
        options,
        lambda _message: None,
    )
    cell._workers[row.contestant.key] = Failing()  # type: ignore[assignment]

    assert cell._processor_seconds() > 0
    assert cell._ask(row, "timing", "time") is None
    assert cell._ask(row, "timing", "time") is None
    assert (row.error, row.warnings, len(ended)) == ("timing: OutOfMemoryError: cudaMalloc", ["careful"], 1)


def test_a_python_that_does_not_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"nowhere/python cannot be started: No such file"):
        Worker("nowhere/python", tmp_path / "log")


def test_what_a_process_says_before_it_ends_is_quoted(tmp_path: Path) -> None:
    found = Worker(sys.executable, tmp_path / "log", module="u2net.no_such_module")

    with pytest.raises(WorkerError, match=r"exit status 1; its last output: (?s:.*)no_such_module"):
        found.call("open", 30)


def test_the_knee_is_where_throughput_stops_growing() -> None:
    latency = Latency(1, 1, 1)
    load = [Load(callers, rate, latency, 1) for callers, rate in ((1, 5.0), (2, 9.0), (4, 9.8), (8, 10.0), (16, 9.0))]

    assert knee(load) == 4


def test_graphs_of_an_earlier_run_are_used_again(options: SuiteOptions) -> None:
    network = find_network("u2netp", options)
    one = replace(options, batches=(1,))
    make_graphs(network, {"plain"}, one)
    before = {path: path.stat().st_mtime_ns for path in options.work.glob("*.onnx")}

    make_graphs(network, {"plain"}, one)

    assert set(before) == {network.path("fp32", 1), network.path("plain", 1)}
    image = make_scenes(1)[0]
    with load(network.path("plain", 1), preset="reference") as plain, load(network.path("fp32", 1)) as ours:
        np.testing.assert_allclose(plain(image), ours(image), atol=1e-5)
    assert {path: path.stat().st_mtime_ns for path in options.work.glob("*.onnx")} == before


def test_a_whole_suite_reports_every_contestant_after_each_cell(
    options: SuiteOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("u2net.benchmarks.suite.inputs.PICTURE_SIZES", ((90, 120),))
    monkeypatch.setattr("u2net.benchmarks.suite.inputs.SCENE_COUNT", 2)
    known: list[SuiteReport] = []
    wanted = SuiteOptions(
        networks=("u2netp",),
        batches=(1, 2),
        size=SIZE,
        contestants=("onnxruntime-fp32", "rembg"),
        rounds=2,
        threads=1,
        callers=(),
        work=options.work,
    )

    report = run_suite(wanted, known=known.append)

    keys = ["eager-fp32", "onnxruntime-fp32", "rembg"]
    assert [(row.contestant.key, row.batch) for row in report.rows] == [
        (key, batch) for batch in (1, 2) for key in keys
    ]
    assert [len(each.rows) for each in known] == [3, 6]
    for measured in report.ceilings.values():
        assert 1e9 < measured.flops < 1e13
        assert 1e8 < measured.bytes < 1e12
    assert "fp32" in report.ceilings
    least: dict[int, list[float]] = {1: [], 2: []}
    for row in report.rows:
        assert (row.wall is None) == bool(row.error) == (row.contestant.key == "rembg")
        if row.wall is not None:
            assert row.fidelity is not None and row.fidelity.iou > 0.95
            assert row.limit_share is not None
            least[row.batch].append(row.limit_share * row.wall.median_ms)
            assert len(row.pictures) == (row.batch == 1)
    for shortest in least.values():
        assert len(shortest) == 2 and shortest == pytest.approx([shortest[0]] * 2), "all compute in FP32"
    assert 0 < 1.5 * least[1][0] < least[2][0]
