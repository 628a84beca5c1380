import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from tests.benchmarks.worker_here import WorkerHere
from u2net.benchmarks import BenchOptions, BenchReport, measure, measure_models
from u2net.benchmarks.statistics import Ratio
from u2net.benchmarks.suite import cells
from u2net.benchmarks.suite.rows import Row
from u2net.benchmarks.suite.workers import WorkerError
from u2net.model.checkpoint import load_checkpoint
from u2net.model.opening import open_session
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import PRESETS, Session
from u2net.runtime.artifact import METADATA_KEY
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, DeviceError, InputError
from u2net.runtime.loading import BackendName

QUICK = BenchOptions(rounds=2, threads=1)


@pytest.fixture(scope="module", autouse=True)
def _workers_here() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "Worker", WorkerHere)
        patch.setattr(measure, "PICTURE_SIZE", (90, 120))
        patch.setattr(measure, "FIDELITY_SCENES", 1)
        yield


def edit(source: Path, target: Path, *, batch: int | None = None, side: int | None = None, **metadata: str) -> Path:
    """Copy a graph with another declared batch, height and width, or metadata."""
    model = onnx.load(source)
    sides = model.graph.input[0].type.tensor_type.shape.dim
    if batch is not None:
        sides[0].dim_value = batch
    if side is not None:
        sides[2].dim_value = sides[3].dim_value = side
    (entry,) = [each for each in model.metadata_props if each.key == METADATA_KEY]
    entry.value = json.dumps({**json.loads(entry.value), **metadata})
    onnx.save(model, target)
    return target


@pytest.fixture(scope="module")
def two_batches(small_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchReport, Path]:
    """A report at batch 1 and 2, and the path of a model of fixed batch 1 that took part."""
    fixed = edit(small_onnx, tmp_path_factory.mktemp("fixed") / "one.onnx", batch=1)
    return measure_models([small_onnx, fixed], BUNDLED_WEIGHTS, replace(QUICK, batches=(1, 2))), fixed


def rows_of(report: BenchReport, batch: int) -> list[Row]:
    return [row for row in report.rows if row.batch == batch]


def test_every_model_has_a_row_after_eager_but_not_in_batches_larger_than_its_own(
    two_batches: tuple[BenchReport, Path], small_onnx: Path
) -> None:
    report, fixed = two_batches

    assert [row.file for row in rows_of(report, 1)] == [BUNDLED_WEIGHTS, small_onnx, fixed]
    assert [row.file for row in rows_of(report, 2)] == [BUNDLED_WEIGHTS, small_onnx]
    assert [row.contestant.title for row in rows_of(report, 1)] == ["eager PyTorch", small_onnx.name, "one.onnx"]
    assert report.complete


def test_the_ratio_is_to_eager_at_the_same_batch(two_batches: tuple[BenchReport, Path]) -> None:
    for batch in (1, 2):
        eager, *others = rows_of(two_batches[0], batch)
        assert eager.ratio == Ratio(1.0, 1.0, 1.0)
        for row in others:
            assert row.ratio is not None and row.ratio.low <= row.ratio.value <= row.ratio.high
            assert row.wall is not None and row.images_per_second == pytest.approx(batch / row.wall.median_ms * 1000)


def test_maps_are_compared_beside_the_speed(two_batches: tuple[BenchReport, Path]) -> None:
    for row in two_batches[0].rows:
        assert row.fidelity is not None and row.fidelity.iou > 0.999 and row.fidelity.mean < 1e-6


def test_rows_say_what_ran_where(two_batches: tuple[BenchReport, Path]) -> None:
    eager, exported, _ = rows_of(two_batches[0], 1)

    assert (eager.contestant.precision, eager.provider) == ("fp32", f"torch {torch.__version__}, CPU")
    assert exported.contestant.precision == "fp32"
    assert re.fullmatch(r"onnxruntime [\d.]+, CPUExecutionProvider", exported.provider)


def test_the_steps_of_a_picture_are_timed_once_for_each_model(two_batches: tuple[BenchReport, Path]) -> None:
    for row in two_batches[0].rows:
        assert [(each.height, each.width) for each in row.pictures] == [(90, 120)] * (row.batch == 1)
        for each in row.pictures:
            assert min(each.preprocess or 0, each.compute or 0, each.postprocess or 0) > 0


def test_a_model_that_fails_is_told_and_costs_the_others_nothing(
    small_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(WorkerHere):
        def call(self, method: str, _timeout: float, **arguments: Any) -> Any:
            if self.contestant == "model-1" and method == "time":
                raise WorkerError("the process ended with signal SIGKILL")
            return super().call(method, _timeout, **arguments)

    monkeypatch.setattr(cells, "Worker", Killed)

    report = measure_models([small_onnx], BUNDLED_WEIGHTS, QUICK)

    assert not report.complete
    assert [row.wall is None for row in report.rows] == [False, True]
    assert f"{small_onnx.name}, u2netp, batch 1: timing: the process ended with signal SIGKILL" in report.warnings


def test_eager_runs_the_weights_that_were_chosen(small_onnx: Path, tmp_path: Path) -> None:
    trained = load_checkpoint(BUNDLED_WEIGHTS).network.state_dict()
    averaged = {key: torch.zeros_like(value) for key, value in trained.items()}
    torch.save({"model": trained, "ema": averaged}, tmp_path / "both.pth")

    report = measure_models([small_onnx], load_checkpoint(tmp_path / "both.pth", "model"), QUICK)

    assert report.rows[1].fidelity is not None and report.rows[1].fidelity.mean < 1e-6


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_all_models_take_the_threads_and_the_backend_that_were_asked_for(
    small_onnx: Path, monkeypatch: pytest.MonkeyPatch, backend: BackendName
) -> None:
    seen: list[int] = []

    class Recording(WorkerHere):
        def call(self, method: str, _timeout: float, **arguments: Any) -> Any:
            if method == "open":
                seen.append(arguments["threads"])
                arguments["threads"] = 1  # more would wait for each other beside other tests
            return super().call(method, _timeout, **arguments)

    monkeypatch.setattr(cells, "Worker", Recording)

    report = measure_models([small_onnx], BUNDLED_WEIGHTS, replace(QUICK, threads=2, backend=backend))
    assert report.options.threads == 2
    assert seen == [2, 2]
    assert [row.provider.split()[0] for row in report.rows] == ["torch", backend]


def test_a_model_of_another_variant_is_refused(small_onnx: Path, tmp_path: Path) -> None:
    other = edit(small_onnx, tmp_path / "large.onnx", variant="u2net")

    with pytest.raises(InputError, match=r"large\.onnx is u2net, the reference .* is u2netp; .*--reference"):
        measure_models([other], BUNDLED_WEIGHTS, QUICK)


def test_a_model_of_another_size_is_refused(small_onnx: Path, tmp_path: Path) -> None:
    other = edit(small_onnx, tmp_path / "other.onnx", side=96)

    with pytest.raises(InputError, match="takes height 96; got 160"):
        measure_models([small_onnx, other], BUNDLED_WEIGHTS, QUICK)


@pytest.mark.parametrize("models", [[], "model.onnx"])
def test_there_must_be_a_list_of_models(models: list[str]) -> None:
    with pytest.raises(InputError, match="the models to measure are a list of paths"):
        measure_models(models, BUNDLED_WEIGHTS, QUICK)


def test_a_file_that_others_exported_is_measured_with_a_preset(small_onnx: Path, tmp_path: Path) -> None:
    foreign = onnx.load(small_onnx)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")

    with pytest.raises(ArtifactError, match="name its preset"):
        measure_models([tmp_path / "foreign.onnx"], BUNDLED_WEIGHTS, QUICK)
    report = measure_models([tmp_path / "foreign.onnx"], BUNDLED_WEIGHTS, replace(QUICK, preset=PRESETS["reference"]))
    assert [row.contestant.precision for row in report.rows] == ["fp32", "unknown"]


def test_a_device_that_torch_does_not_see_is_refused(small_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_models_on_cpu(source: Path, device: Device, **options: Any) -> Session:
        return open_session(source, Device("cpu") if source == small_onnx else device, **options)

    monkeypatch.setattr("u2net.benchmarks.measure.open_session", open_models_on_cpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(DeviceError, match=r"cuda:1 was asked for, but this PyTorch .* sees no such CUDA device"):
        measure_models([small_onnx], BUNDLED_WEIGHTS, replace(QUICK, device=Device("cuda", 1)))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (replace(QUICK, batches=()), "there is no batch size"),
        (replace(QUICK, batches=(1, 0)), "batch is a whole number from 1 to 1024; got 0"),
        (replace(QUICK, rounds=1), "at least 2 rounds"),
        (replace(QUICK, threads=0), "threads is a whole number"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(small_onnx: Path, options: BenchOptions, found: str) -> None:
    with pytest.raises(InputError, match=found):
        measure_models([small_onnx], BUNDLED_WEIGHTS, options)
