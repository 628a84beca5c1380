import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from u2net.benchmarks import BenchOptions, BenchReport, measure_models
from u2net.benchmarks.measure import BenchRow
from u2net.benchmarks.statistics import Ratio
from u2net.export import ExportOptions
from u2net.model.opening import open_session
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import PRESETS, Session
from u2net.runtime.artifact import METADATA_KEY
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, CheckpointError, DeviceError, InputError, U2NetError
from u2net.runtime.preprocess import ByteArray, FloatArray, preprocess
from u2net.runtime.presets import Preset

QUICK = BenchOptions(rounds=2, warmup=0, threads=1, memory=False)


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
def two_batches(small_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchReport, list[str], Path]:
    """A report at batch 1 and 2, its progress, and the path of a model of fixed batch 1 that took part."""
    fixed = edit(small_onnx, tmp_path_factory.mktemp("fixed") / "one.onnx", batch=1)
    said: list[str] = []
    options = replace(QUICK, batches=(1, 2), warmup=1)
    return measure_models([small_onnx, fixed], BUNDLED_WEIGHTS, options, said.append), said, fixed


def rows_of(report: BenchReport, batch: int) -> list[BenchRow]:
    return [row for row in report.rows if row.batch == batch]


def test_every_model_has_a_row_after_eager_but_not_in_batches_larger_than_its_own(
    two_batches: tuple[BenchReport, list[str], Path], small_onnx: Path
) -> None:
    report, _, fixed = two_batches

    assert [row.model for row in rows_of(report, 1)] == [BUNDLED_WEIGHTS, small_onnx, fixed]
    assert [row.model for row in rows_of(report, 2)] == [BUNDLED_WEIGHTS, small_onnx]


def test_eager_is_exactly_as_fast_as_itself(two_batches: tuple[BenchReport, list[str], Path]) -> None:
    ratios = [row.ratio for row in two_batches[0].rows if row.model == BUNDLED_WEIGHTS]

    assert ratios == [Ratio(1.0, 1.0, 1.0)] * 2


def test_images_per_second_count_the_batch(two_batches: tuple[BenchReport, list[str], Path]) -> None:
    for row in two_batches[0].rows:
        assert row.images_per_second == pytest.approx(row.batch / row.compute.median_ms * 1000)


def test_the_ratio_is_to_eager_at_the_same_batch(two_batches: tuple[BenchReport, list[str], Path]) -> None:
    report = two_batches[0]
    for batch in (1, 2):
        eager, *others = rows_of(report, batch)
        for row in others:
            assert row.ratio.value == pytest.approx(eager.compute.median_ms / row.compute.median_ms)
            assert row.ratio.low <= row.ratio.value <= row.ratio.high


def test_rows_say_what_ran_where(two_batches: tuple[BenchReport, list[str], Path]) -> None:
    eager, exported, _ = rows_of(two_batches[0], 1)

    assert (eager.precision, eager.provider) == ("fp32", f"torch {torch.__version__}, CPU")
    assert exported.precision == "fp32"
    assert re.fullmatch(r"onnxruntime [\d.]+, CPUExecutionProvider", exported.provider)


def test_the_report_says_how_it_was_measured(two_batches: tuple[BenchReport, list[str], Path]) -> None:
    report = two_batches[0]

    assert report.options == replace(QUICK, batches=(1, 2), warmup=1)
    assert report.input_size == (160, 160)
    assert report.machine.versions["torch"] == torch.__version__


def test_the_steps_of_a_picture_are_timed_apart(two_batches: tuple[BenchReport, list[str], Path]) -> None:
    pictures = two_batches[0].pictures

    assert len(pictures) == 2
    for each in pictures:
        assert each.picture == (720, 1280)
        assert min(each.preprocess_ms, each.compute_ms, each.postprocess_ms) > 0


def test_progress_names_each_round_and_picture(two_batches: tuple[BenchReport, list[str], Path]) -> None:
    said = [f"timing batch {batch}: round {done} of 3" for batch in (1, 2) for done in (1, 2, 3)]

    assert two_batches[1][:6] == said
    assert all(text.startswith("timing a picture: ") for text in two_batches[1][6:])


def test_without_memory_there_is_no_figure(two_batches: tuple[BenchReport, list[str], Path]) -> None:
    assert {row.peak_memory_mb for row in two_batches[0].rows} == {None}


def test_memory_is_read_of_each_model_at_each_batch(small_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def peak(*arguments: object) -> float:
        asked.append(arguments)
        return float(len(asked))

    monkeypatch.setattr("u2net.benchmarks.measure.peak_memory_mb", peak)

    report = measure_models([small_onnx], BUNDLED_WEIGHTS, replace(QUICK, memory=True, batches=(2,)))

    preset = PRESETS["reference"].with_size(160, 160)
    assert asked == [(BUNDLED_WEIGHTS, preset, 2), (small_onnx, preset, 2)]
    assert [row.peak_memory_mb for row in report.rows] == [1.0, 2.0]


def test_a_process_that_fails_costs_only_its_memory_figure(small_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(path: Path, *_: object) -> float:
        if path == small_onnx:
            raise U2NetError("killed")
        return 1.0

    monkeypatch.setattr("u2net.benchmarks.measure.peak_memory_mb", peak)

    report = measure_models([small_onnx], BUNDLED_WEIGHTS, replace(QUICK, memory=True))

    assert [(row.peak_memory_mb, row.memory_failure) for row in report.rows] == [(1.0, ""), (None, "killed")]
    assert "killed" in report.warnings


def test_a_picture_is_timed_at_the_size_of_the_report(
    exported: Callable[[ExportOptions], Path], small_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[int, int]] = set()

    def prepare(image: ByteArray, preset: Preset) -> FloatArray:
        seen.add((preset.height, preset.width))
        return preprocess(image, preset)

    monkeypatch.setattr("u2net.benchmarks.timing.preprocess", prepare)
    dynamic = exported(ExportOptions(size=None, preset=PRESETS["reference"].with_size(64, 64)))

    report = measure_models([small_onnx, dynamic], BUNDLED_WEIGHTS, QUICK)

    assert seen == {report.input_size}


def test_all_models_take_the_threads_that_were_asked_for(small_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def time_once(runs: dict[str, Callable[[], object]], *_how: object) -> dict[str, list[float]]:
        seen.append(torch.get_num_threads())
        return {name: [1.0, 1.0] for name in runs}

    before = torch.get_num_threads()
    monkeypatch.setattr("u2net.benchmarks.measure.time_in_turns", time_once)

    assert (
        measure_models([small_onnx], BUNDLED_WEIGHTS, replace(QUICK, threads=before + 1)).options.threads == before + 1
    )
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_a_model_of_another_variant_is_refused(small_onnx: Path, tmp_path: Path) -> None:
    other = edit(small_onnx, tmp_path / "large.onnx", variant="u2net")

    with pytest.raises(InputError, match=r"large\.onnx is u2net, the reference .* is u2netp; .*--reference"):
        measure_models([other], BUNDLED_WEIGHTS, QUICK)


def test_a_model_of_another_size_is_refused(small_onnx: Path, tmp_path: Path) -> None:
    other = edit(small_onnx, tmp_path / "other.onnx", side=96)

    with pytest.raises(InputError, match="takes height 96; got 160"):
        measure_models([small_onnx, other], BUNDLED_WEIGHTS, QUICK)


def test_there_must_be_a_model() -> None:
    with pytest.raises(InputError, match="no model to measure"):
        measure_models([], BUNDLED_WEIGHTS, QUICK)


def test_a_model_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        measure_models([tmp_path / "nowhere.onnx"], BUNDLED_WEIGHTS, QUICK)


def test_the_reference_must_be_there(small_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        measure_models([small_onnx], tmp_path / "nowhere.pth", QUICK)


def test_a_file_that_others_exported_is_measured_with_a_preset(small_onnx: Path, tmp_path: Path) -> None:
    foreign = onnx.load(small_onnx)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")

    with pytest.raises(ArtifactError, match="name its preset"):
        measure_models([tmp_path / "foreign.onnx"], BUNDLED_WEIGHTS, QUICK)
    report = measure_models([tmp_path / "foreign.onnx"], BUNDLED_WEIGHTS, replace(QUICK, preset=PRESETS["reference"]))
    assert [row.precision for row in report.rows] == ["fp32", "unknown"]


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
        (replace(QUICK, batches=()), "batch sizes are at least 1"),
        (replace(QUICK, batches=(1, 0)), r"got \(1, 0\)"),
        (replace(QUICK, rounds=1), "at least 2 rounds"),
        (replace(QUICK, warmup=-1), "warm-up"),
        (replace(QUICK, threads=0), "1 thread"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(small_onnx: Path, options: BenchOptions, found: str) -> None:
    with pytest.raises(InputError, match=found):
        measure_models([small_onnx], BUNDLED_WEIGHTS, options)


@pytest.mark.timing
def test_the_export_is_faster_than_eager(exported: Callable[[ExportOptions], Path]) -> None:
    """At 320×320 and batch 1; the report of a build shows the ratio, whose aim is 1.7."""
    report = measure_models([exported(ExportOptions())], BUNDLED_WEIGHTS, BenchOptions(rounds=9, memory=False))

    assert report.rows[1].ratio.value > 1.2
