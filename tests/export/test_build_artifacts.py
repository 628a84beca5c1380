import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from u2net.export import BuildOptions, EngineOptions, ExportOptions, build_artifacts, export_model
from u2net.export.build import ENGINE_NAME
from u2net.model.checkpoint import Checkpoint
from u2net.model.opening import open_session
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import Session, load, read_image
from u2net.runtime.device import Device
from u2net.runtime.errors import (
    ArtifactError,
    CheckpointError,
    DependencyError,
    DriverMissingError,
    EngineDamagedError,
    EngineGpuError,
    ExportError,
    InputError,
    OutOfMemoryError,
)


def test_build_writes_proven_artifacts(tmp_path: Path, photograph_folder: Path) -> None:
    said: list[str] = []
    options = BuildOptions(ExportOptions(size=(160, 160)), images=photograph_folder)
    result = build_artifacts(BUNDLED_WEIGHTS, tmp_path / "out", options, said.append)
    assert result.passed
    assert [stage.name for stage in result.stages] == ["export", "simplify", "fp16"]
    assert [path.name for path in result.graphs] == ["model.onnx", "model.fp16.onnx"]
    assert [path.name for path in result.artifacts] == ["model.onnx", "model.fp16.onnx", "model.engine"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("model.onnx", "model.fp16.onnx", "model.engine", "model.engine.json")
    }
    assert any("verifying" in message for message in said)
    digest = hashlib.sha256(BUNDLED_WEIGHTS.read_bytes()).hexdigest()
    with load(result.artifacts[0]) as session:
        assert session.info.checkpoint_sha256 == digest
        mask = session(read_image(photograph_folder / "coffee.png"))
    assert mask.shape == (160, 200)
    assert mask.min() < 0.1 and mask.max() > 0.9


def test_an_engine_is_built_from_the_fp16_graph(tmp_path: Path, photograph_folder: Path) -> None:
    result = build_artifacts(BUNDLED_WEIGHTS, tmp_path, BuildOptions(ExportOptions(size=(64, 64)), photograph_folder))
    assert result.engine is not None and result.engine.stage is not None
    record = result.engine.stage.record
    assert (record.onnx, record.precision) == ("model.fp16.onnx", "fp16")
    assert record.artifact == result.stages[-1].graph.artifact


def test_no_engine_where_none_is_wanted_or_no_tensorrt_is_installed(
    tmp_path: Path, photograph_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = ExportOptions(size=(64, 64), batch=1)
    unwanted = build_artifacts(BUNDLED_WEIGHTS, tmp_path / "a", BuildOptions(export, photograph_folder, engine=None))
    monkeypatch.setattr("u2net.export.build.installed_flavours", list)
    missing = build_artifacts(BUNDLED_WEIGHTS, tmp_path / "b", BuildOptions(export, photograph_folder))
    assert unwanted.engine is missing.engine is None


@pytest.mark.parametrize(("device", "built_on"), [("cuda:1", "cuda:1"), ("cpu", "cuda:2")])
def test_the_engine_is_built_on_the_gpu_asked_for(
    tmp_path: Path, photograph_folder: Path, monkeypatch: pytest.MonkeyPatch, device: str, built_on: str
) -> None:
    asked: list[Device] = []

    def build(_graph: Path, _path: Path, options: EngineOptions) -> None:
        asked.append(options.device)
        raise ExportError("enough")

    def open_on_cpu(source: Checkpoint | Path, device: Device, *_more: Any, **options: Any) -> Session:
        asked.append(device)
        return open_session(source, Device("cpu"), **options)

    monkeypatch.setattr("u2net.export.build.build_engine", build)
    monkeypatch.setattr("u2net.export.build.open_session", open_on_cpu)
    monkeypatch.setattr("u2net.export.build.open_for_parity", open_on_cpu)
    options = BuildOptions(
        ExportOptions(size=(64, 64), batch=1),
        photograph_folder,
        Device.parse(device),
        engine=EngineOptions(device=Device("cuda", 2)),
    )

    with pytest.raises(ExportError, match="enough"):
        build_artifacts(BUNDLED_WEIGHTS, tmp_path, options)

    assert asked == [*[Device.parse(device)] * 4, Device.parse(built_on)]


def refuse_engine(monkeypatch: pytest.MonkeyPatch, stage: str, error: Exception) -> None:
    """Make every stage of a build a stub, and let the engine fail in one."""

    def fail(source: Path | MagicMock, *_more: object) -> None:
        if stage == "build_engine" or source.name == ENGINE_NAME:
            raise error

    stages = ("open_session", "ParityGate", "export_onnx", "simplify_onnx", "convert_fp16", "build_engine")
    for name in (*stages, "open_for_parity"):
        monkeypatch.setattr(f"u2net.export.build.{name}", MagicMock())
    monkeypatch.setattr(f"u2net.export.build.{stage}", fail)
    monkeypatch.setattr("u2net.export.build.installed_flavours", lambda: ["tensorrt"])


@pytest.mark.parametrize("error", [DriverMissingError, EngineGpuError, DependencyError])
@pytest.mark.parametrize(("stage", "fate"), [("build_engine", "built"), ("open_for_parity", "run")])
def test_what_a_processor_lacks_excuses_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, fate: str, error: Callable[[str], Exception]
) -> None:
    refuse_engine(monkeypatch, stage, error(f"{tmp_path / ENGINE_NAME} is refused"))

    engine = build_artifacts(BUNDLED_WEIGHTS, tmp_path).engine

    assert engine is not None and engine.parity is None
    assert engine.note.startswith(f"not {fate}: {ENGINE_NAME} is refused")


@pytest.mark.parametrize("stage", ["build_engine", "open_for_parity"])
@pytest.mark.parametrize(
    ("error", "device"),
    [
        *((each, "cpu") for each in (EngineDamagedError, ArtifactError, OutOfMemoryError)),
        *((each, "cuda") for each in (DriverMissingError, EngineGpuError)),
    ],
)
def test_any_other_failure_of_an_engine_fails_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: type[Exception], device: str
) -> None:
    refuse_engine(monkeypatch, stage, error("refused"))

    with pytest.raises(error, match="refused"):
        build_artifacts(BUNDLED_WEIGHTS, tmp_path, BuildOptions(device=Device.parse(device)))


def test_a_flavour_that_is_asked_for_must_be_there(tmp_path: Path, photograph_folder: Path) -> None:
    options = BuildOptions(ExportOptions(size=(64, 64), batch=1), photograph_folder, engine=EngineOptions("tensorrt"))
    with pytest.raises(DependencyError, match=r"u2net-deploy\[gpu\]"):
        build_artifacts(BUNDLED_WEIGHTS, tmp_path, options)


def test_single_file_in_half_precision(tmp_path: Path, photograph_folder: Path) -> None:
    options = ExportOptions(size=(64, 64), batch=1)
    stage = export_model(BUNDLED_WEIGHTS, tmp_path / "half.onnx", options, half=True, images=photograph_folder)
    assert stage.artifact.precision == "fp16"
    assert [path.name for path in tmp_path.iterdir()] == ["half.onnx"]


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(InputError, match="folder"):
        build_artifacts(BUNDLED_WEIGHTS, tmp_path / "out")


def test_wrong_checkpoint_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(CheckpointError):
        build_artifacts(tmp_path / "text.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_are_checked_before_work_begins(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="opset"):
        build_artifacts(BUNDLED_WEIGHTS, tmp_path / "out", BuildOptions(ExportOptions(opset=3)))
