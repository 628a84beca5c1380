from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.scenes import write_scenes
from u2net.export import BuildOptions, BuildResult, build_artifacts
from u2net.export.accuracy import LARGEST_COST, LARGEST_INT8_COST, METRICS, AccuracyReport
from u2net.export.parity.sessions import open_for_parity
from u2net.model.checkpoint import load_checkpoint, save_weights
from u2net.model.dataset import find_pairs
from u2net.model.evaluation import Evaluation, score_masks, score_sessions
from u2net.model.metrics import SaliencyScores
from u2net.model.opening import open_session
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.device import CPU
from u2net.runtime.errors import DatasetError

SIDE = 128
SCORES = SaliencyScores(200, **{**dict.fromkeys(METRICS, 0.8), "mae": 0.1})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(folder, 6, seed=2, size=96)
    return folder


@pytest.fixture(scope="module")
def report(dataset: Path, tiny_onnx: Path, tiny_fp16: Path) -> AccuracyReport:
    return measure(BUNDLED_WEIGHTS, [tiny_onnx, tiny_fp16], dataset)


def measure(checkpoint: Path, models: list[Path], dataset: Path) -> AccuracyReport:
    sessions = [open_session(checkpoint, CPU, size=(SIDE, SIDE)), *(open_for_parity(path, CPU) for path in models)]
    return AccuracyReport(dataset.name, score_sessions(sessions, find_pairs(dataset)))


def test_eager_pytorch_is_scored_first_as_eval_scores_it(report: AccuracyReport, dataset: Path) -> None:
    session = open_session(BUNDLED_WEIGHTS, CPU, size=(SIDE, SIDE))

    assert report.dataset == "scenes"
    assert report.pictures == 6
    assert report.evaluations[0] == replace(
        score_masks(BUNDLED_WEIGHTS, session, find_pairs(dataset)), precision="fp32"
    )
    assert report.evaluations[0].scores.max_f > 0.5


def test_a_right_export_costs_nothing(report: AccuracyReport, tiny_onnx: Path) -> None:
    graph = report.evaluations[1]

    assert graph.model == tiny_onnx
    assert report.costs(graph).keys() == set(METRICS)
    assert max(map(abs, report.costs(graph).values())) < 1e-5
    assert report.failures == ()


def test_fp16_is_scored_as_it_is_on_a_gpu(report: AccuracyReport, tiny_fp16: Path) -> None:
    """ONNX Runtime would compute in FP32 here and change less."""
    rounded = report.evaluations[2]

    assert rounded.model == tiny_fp16
    assert rounded.scores.mae != report.evaluations[1].scores.mae
    assert 0 < max(map(abs, report.costs(rounded).values())) < 2e-3


def test_weights_that_are_not_those_of_the_checkpoint_are_found(tiny_onnx: Path, dataset: Path, tmp_path: Path) -> None:
    network = load_checkpoint(BUNDLED_WEIGHTS).network
    with torch.no_grad():
        network.outconv.weight[:, 0] *= 0.5
    save_weights(network, tmp_path / "other.safetensors")

    report = measure(tmp_path / "other.safetensors", [tiny_onnx], dataset)

    assert max(map(abs, report.costs(report.evaluations[1]).values())) > LARGEST_COST


def made_up(**changes: float) -> AccuracyReport:
    changed = replace(SCORES, **changes)  # type: ignore[arg-type]
    return AccuracyReport("data", (Evaluation("eager", SCORES, ()), Evaluation("a/model.onnx", changed, ())))


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_has_the_limit_on_the_side_where_it_is_worse(metric: str) -> None:
    worse = 1 if metric == "mae" else -1
    start = getattr(SCORES, metric)

    for share, fails in ((1.1, True), (0.9, False), (-9, False)):
        report = made_up(**{metric: start + worse * share * LARGEST_COST})
        assert report.costs(report.evaluations[1])[metric] == pytest.approx(share * LARGEST_COST)
        assert bool(report.failures) is fails

    (failure,) = made_up(**{metric: start + worse * 0.01}).failures
    assert failure == f"model.onnx costs 0.01000 in {metric} on data; the limit is 0.0005"


def test_int8_may_cost_more() -> None:
    eager, changed = Evaluation("eager", SCORES, ()), replace(SCORES, mae=SCORES.mae + 0.9 * LARGEST_INT8_COST)

    assert AccuracyReport("data", (eager, Evaluation("a", changed, (), "int8"))).failures == ()
    assert AccuracyReport("data", (eager, Evaluation("a", changed, (), "fp16"))).failures
    changed = replace(SCORES, mae=SCORES.mae + 1.1 * LARGEST_INT8_COST)
    assert AccuracyReport("data", (eager, Evaluation("a", changed, (), "int8"))).failures


def test_a_score_that_is_no_number_fails() -> None:
    assert len(made_up(iou=np.nan).failures) == 1


def test_a_small_data_set_is_told_and_not_judged() -> None:
    few = replace(SCORES, pictures=199)

    report = AccuracyReport("data", (Evaluation("eager", few, ()), Evaluation("a", replace(few, iou=0.1), ())))

    assert report.costs(report.evaluations[1])["iou"] == pytest.approx(0.7)
    assert report.failures == ()


def test_a_data_set_that_is_none_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="images"):
        build_artifacts(BUNDLED_WEIGHTS, tmp_path / "out", BuildOptions(dataset=tmp_path))
    assert not (tmp_path / "out").exists()


def test_a_cost_fails_a_build() -> None:
    result = BuildResult(BUNDLED_WEIGHTS, (), accuracy=made_up(iou=0.7))

    assert not result.passed
    assert result.failures == ("model.onnx costs 0.10000 in iou on data; the limit is 0.0005",)
