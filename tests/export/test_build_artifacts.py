import hashlib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tests.export.conftest import TINY
from u2net.export import BuildOptions, EngineOptions, ExportOptions, build_artifacts
from u2net.export.build import ENGINE_NAME
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import load, read_image
from u2net.runtime.device import Device
from u2net.runtime.errors import (
    ArtifactError,
    CheckpointError,
    DependencyError,
    DriverMissingError,
    EngineDamagedError,
    EngineGpuError,
    OutOfMemoryError,
)


def test_build_writes_proven_artifacts(tmp_path: Path, photograph_folder: Path) -> None:
    """Paths may be strings."""
    said: list[str] = []
    options = BuildOptions(ExportOptions(size=TINY), images=str(photograph_folder))
    result = build_artifacts(str(BUNDLED_WEIGHTS), str(tmp_path / "out"), options, said.append)
    assert result.passed
    assert [stage.name for stage in result.stages] == ["export", "simplify", "fp16"]
    assert [path.name for path in result.graphs] == ["model.onnx", "model.fp16.onnx"]
    assert [path.name for path in result.artifacts] == ["model.onnx", "model.fp16.onnx", "model.engine"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("model.onnx", "model.fp16.onnx", "model.engine", "model.engine.json")
    }
    assert any("verifying" in message for message in said)
    assert result.engine is not None and result.engine.stage is not None
    record = result.engine.stage.record
    assert (record.onnx, record.precision) == ("model.fp16.onnx", "fp16")
    assert record.artifact == result.stages[-1].graph.artifact
    digest = hashlib.sha256(BUNDLED_WEIGHTS.read_bytes()).hexdigest()
    with load(result.artifacts[0]) as session:
        assert session.info.checkpoint_sha256 == digest
        mask = session(read_image(photograph_folder / "coffee.png"))
    assert mask.shape == (160, 200)
    assert mask.min() < 0.1 and mask.max() > 0.9


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> dict[str, MagicMock]:
    """Stubs for every stage of a build, by name, where the full TensorRT is installed."""
    names = ("ParityGate", "export_onnx", "simplify_onnx", "convert_fp16", "build_engine")
    stubs = {name: MagicMock() for name in ("open_session", "open_for_parity", "choose_flavour", *names)}
    for name, stub in stubs.items():
        monkeypatch.setattr(f"u2net.export.build.{name}", stub)
    return stubs


def test_no_engine_where_none_is_wanted_or_no_tensorrt_is_installed(
    tmp_path: Path, stages: dict[str, MagicMock]
) -> None:
    unwanted = build_artifacts(BUNDLED_WEIGHTS, tmp_path / "a", BuildOptions(engine=None))
    stages["choose_flavour"].side_effect = DependencyError("TensorRT", "gpu")
    missing = build_artifacts(BUNDLED_WEIGHTS, tmp_path / "b").engine
    assert unwanted.engine is None
    assert missing is not None and missing.stage is None
    assert missing.remark.startswith("The engine was not built: TensorRT is not installed; `pip install")
    assert not stages["build_engine"].called


@pytest.mark.parametrize(("device", "built_on"), [("cuda:1", "cuda:1"), ("cpu", "cuda:2")])
def test_the_engine_is_built_on_the_gpu_asked_for(
    tmp_path: Path, stages: dict[str, MagicMock], device: str, built_on: str
) -> None:
    options = BuildOptions(device=Device.parse(device), engine=EngineOptions(device=Device("cuda", 2)))

    build_artifacts(BUNDLED_WEIGHTS, tmp_path, options)

    opened = [call.args[1] for name in ("open_session", "open_for_parity") for call in stages[name].call_args_list]
    assert opened == [*[Device.parse(device)] * 4, Device.parse(built_on)]
    assert stages["build_engine"].call_args.args[2].device == Device.parse(built_on)


def refuse_engine(stages: dict[str, MagicMock], stage: str, error: Exception) -> None:
    """Let the engine fail in one stage."""

    def fail(source: Path | MagicMock, *_more: object) -> None:
        if stage == "build_engine" or source.name == ENGINE_NAME:
            raise error

    stages[stage].side_effect = fail


@pytest.mark.parametrize("error", [DriverMissingError, EngineGpuError, DependencyError])
@pytest.mark.parametrize(("stage", "fate"), [("build_engine", "built"), ("open_for_parity", "run")])
def test_what_a_processor_lacks_excuses_an_engine(
    tmp_path: Path, stages: dict[str, MagicMock], stage: str, fate: str, error: Callable[[str], Exception]
) -> None:
    refuse_engine(stages, stage, error(f"{tmp_path / ENGINE_NAME} is refused"))

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
    tmp_path: Path, stages: dict[str, MagicMock], stage: str, error: type[Exception], device: str
) -> None:
    refuse_engine(stages, stage, error("refused"))

    with pytest.raises(error, match="refused"):
        build_artifacts(BUNDLED_WEIGHTS, tmp_path, BuildOptions(device=Device.parse(device)))


def test_a_flavour_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"u2net-deploy\[gpu\]"):
        build_artifacts(BUNDLED_WEIGHTS, tmp_path, BuildOptions(engine=EngineOptions("tensorrt")))


def test_wrong_checkpoint_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(CheckpointError):
        build_artifacts(tmp_path / "text.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()
