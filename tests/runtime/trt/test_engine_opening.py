"""From a file to a session: what is refused, with which error, and what is built again."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.trt.conftest import WriteEngine
from tests.runtime.trt.fake_builder import NETWORK
from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import END, MAGIC, MALFORMED, FakeTensorRT, Runtime
from u2net.runtime import Session, load
from u2net.runtime.errors import (
    ArtifactError,
    DependencyError,
    DeviceError,
    DriverMissingError,
    DriverTooOldError,
    EngineBuildError,
    EngineDamagedError,
    EngineGpuError,
    EngineVersionError,
    OutOfMemoryError,
)
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.record import hash_bytes, read_record, record_path
from u2net.runtime.trt.running.opening import REFUSALS

IMAGE = np.full((32, 32, 3), 51, np.uint8)
PRESET = PRESETS["raw"].with_size(32, 32)
DIAGNOSTICS = [name for name in REFUSALS if "_" in name]
"""Names that TensorRT-RTX diagnoses; the other keys are words of the full TensorRT."""


def works(session: Session) -> None:
    np.testing.assert_allclose(session(IMAGE), 0.2, rtol=1e-5)


def unrecorded(path: Path) -> Path:
    record_path(path).unlink()
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".engine", ".plan", ".trt", ".ENGINE"])
def test_an_engine_is_known_by_its_suffix(trt: FakeTensorRT, write_engine: WriteEngine, suffix: str) -> None:
    with load(write_engine(trt, f"model{suffix}"), "cuda") as session:
        works(session)


@pytest.mark.usefixtures("trt")
def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no\.engine: there is no such file"):
        load(tmp_path / "no.engine", "cuda:0")


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ({"driver": 0}, DriverMissingError),
        ({"driver": 11080}, DriverTooOldError),
        ({"devices": 0}, DeviceError),
        ({"devices": 1}, DeviceError),
    ],
)
def test_without_the_gpu_nothing_of_tensorrt_is_touched(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, state: dict[str, int], kind: type[DeviceError]
) -> None:
    """Without a driver its runtime crashes; the fake one complains."""
    path = write_engine(trt)
    for name, value in state.items():
        setattr(cuda, name, value)

    with pytest.raises(DeviceError) as caught:
        load(path, "cuda:1")

    assert caught.type is kind
    assert "cudaSetDevice" not in cuda.calls


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_a_flavour_that_is_not_installed_is_named(
    trt: FakeTensorRT, write_engine: WriteEngine, monkeypatch: pytest.MonkeyPatch, flavour: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    path = write_engine(trt, record={"flavour": flavour})

    with pytest.raises(
        DependencyError, match=rf"^{flavour} is not installed; `pip install 'u2net-deploy\[(gpu|rtx)\]'"
    ):
        load(path, "cuda:0")


def test_a_missing_record_is_warned_of_and_a_preset_needed(
    trt: FakeTensorRT, write_engine: WriteEngine, caplog: pytest.LogCaptureFixture
) -> None:
    path = unrecorded(write_engine(trt))

    with pytest.raises(ArtifactError, match="does not say how it wants its images; name its preset: reference, "):
        load(path, "cuda:0")
    assert f"{path} has no record beside it" in caplog.text
    with load(path, "cuda:0", preset=PRESET) as session:
        works(session)
        assert (session.info.precision, session.info.variant) == (None, None)


def test_a_truncated_plan_is_refused(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(trt)
    content = path.read_bytes()
    path.write_bytes(content[:-5])

    with pytest.raises(EngineDamagedError, match=rf"truncated: {len(content) - 5} of {len(content)} bytes"):
        load(path, "cuda:0")
    with pytest.raises(EngineDamagedError, match=r"magicTag.*compile it again"):
        load(unrecorded(path), "cuda:0", preset=PRESET)


def test_an_altered_plan_is_refused(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(trt)
    path.write_bytes(path.read_bytes().replace(b'"d0"', b'"d1"'))

    with pytest.raises(EngineDamagedError, match=r"is not the plan that model\.engine\.json describes"):
        load(path, "cuda:0")


@pytest.mark.parametrize("content", [b"", b"this is no engine", MAGIC, bytes(range(256))])
@pytest.mark.parametrize("kind", ["trt", "rtx"])
def test_a_foreign_file_is_refused(request: pytest.FixtureRequest, tmp_path: Path, content: bytes, kind: str) -> None:
    request.getfixturevalue(kind)
    path = tmp_path / "odd.engine"
    path.write_bytes(content)

    with pytest.raises(EngineDamagedError, match=r"odd\.engine cannot be opened by tensorrt.* on Fake GPU: .*magicTag"):
        load(path, "cuda:0", preset=PRESET)


@pytest.mark.parametrize("kind", ["trt", "rtx"])
@pytest.mark.parametrize("recorded", [True, False])
def test_an_engine_of_another_tensorrt_is_refused(
    request: pytest.FixtureRequest, write_engine: WriteEngine, kind: str, recorded: bool
) -> None:
    module: FakeTensorRT = request.getfixturevalue(kind)
    path = write_engine(module)
    module.__version__ = "12.0"

    with pytest.raises(EngineVersionError, match=r"here is 12\.0" if recorded else "Version tag.*with this one"):
        load(path if recorded else unrecorded(path), "cuda:0", preset=PRESET)


@pytest.mark.parametrize("recorded", [True, False])
def test_an_engine_of_another_gpu_is_refused(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, recorded: bool
) -> None:
    path = write_engine(trt)
    cuda.capability = (8, 9)

    with pytest.raises(EngineGpuError, match=r"here is Fake GPU \(8\.9\)" if recorded else "expecting compute 8.9"):
        load(path if recorded else unrecorded(path), "cuda:0", preset=PRESET)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "The engine plan file is not compatible with this version of TensorRT, expecting library version "
            "10.16.0 got 10.15.0, please rebuild.",
            EngineVersionError,
        ),
        ("Error Code 6: (The engine plan file is generated on an incompatible device)", EngineGpuError),
        ("[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)", OutOfMemoryError),
        ("Error Code 2: OutOfMemory (no further information)", OutOfMemoryError),
        ("Error Code 4: Internal Error (Engine deserialization failed.)", EngineDamagedError),
    ],
)
def test_what_the_full_tensorrt_says_tells_the_error(
    trt: FakeTensorRT,
    write_engine: WriteEngine,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    kind: type[ArtifactError],
) -> None:
    monkeypatch.setattr(Runtime, "_judge", lambda *_arguments: (0, said))

    with pytest.raises((ArtifactError, DeviceError)) as caught:
        load(write_engine(trt), "cuda:0")
    assert caught.type is kind
    assert said in str(caught.value)


@pytest.mark.usefixtures("trt")
def test_the_name_of_a_file_does_not_tell_the_error(tmp_path: Path) -> None:
    path = tmp_path / "different gpu, version mismatch.engine"
    path.write_bytes(b"odd")

    with pytest.raises(EngineDamagedError):
        load(path, "cuda:0")


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_what_tensorrt_rtx_diagnoses_tells_the_error(
    rtx: FakeTensorRT, write_engine: WriteEngine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    members = rtx.EngineInvalidityDiagnostics.__members__
    monkeypatch.setattr(
        Runtime, "_judge", lambda *_arguments: (int(members[name.upper()]) | MALFORMED, "it is refused")
    )

    with pytest.raises((ArtifactError, DeviceError), match="it is refused") as caught:
        load(write_engine(rtx), "cuda:0")
    assert caught.type is REFUSALS[name][0]
    assert str(caught.value).endswith(REFUSALS[name][1])


def test_every_diagnostic_of_the_real_one_is_explained() -> None:
    library = pytest.importorskip("tensorrt_rtx_bindings")

    assert {name.lower() for name in library.EngineInvalidityDiagnostics.__members__} == set(DIAGNOSTICS)


def test_memory_that_runs_out_on_opening_is_said(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime
) -> None:
    cuda.allowed = 0

    with pytest.raises(OutOfMemoryError, match=r"Cuda Runtime \(out of memory\); end what else uses the GPU"):
        load(write_engine(trt), "cuda:0")


def test_an_engine_for_other_targets_is_refused(rtx: FakeTensorRT, write_engine: WriteEngine) -> None:
    with pytest.raises(EngineGpuError, match=r"for sm_89, here is Fake GPU \(sm_86\); compile it with --target sm_86"):
        load(write_engine(rtx, record={"targets": ("sm_89",)}), "cuda:0")
    with load(write_engine(rtx, record={"targets": ("sm_89", "sm_86")}), "cuda:0") as session:
        works(session)


# --- building again ------------------------------------------------------------------------------------------------


def stale(module: FakeTensorRT, cuda: FakeCudaRuntime, path: Path, why: str) -> Path:
    """Make the engine one of another TensorRT or GPU."""
    if why == "version":
        module.__version__ = "12.0"
    elif why == "plan":  # the record is fine, and TensorRT refuses the plan nevertheless
        other = MAGIC + json.dumps({**NETWORK, "version": "9", "cc": [8, 6]}).encode() + END
        record = json.loads(record_path(path).read_text())
        path.write_bytes(other)
        record |= {"plan_bytes": len(other), "plan_sha256": hash_bytes(other)}
        record_path(path).write_text(json.dumps(record))
    else:
        cuda.capability = (9, 0)
    return path


@pytest.mark.parametrize("why", ["version", "gpu", "plan"])
def test_a_stale_engine_is_built_again_where_that_is_wanted(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    record = {"opt_level": 4, "tf32": True}
    path = stale(trt, cuda, write_engine(trt, record=record), why)
    before = path.read_bytes()

    with load(path, "cuda:0", rebuild=True) as session:
        works(session)
        assert session.info.rebuilt
        assert {"version": "here is 12.0", "gpu": "(9.0)", "plan": "Version tag"}[why] in session.info.rebuilt
        assert session.info.precision == "fp16"

    assert f"building {path} again from {path.with_name('model.onnx')}" in caplog.text
    assert f"built {path} again with tensorrt {trt.__version__} in" in caplog.text
    assert path.read_bytes() != before
    assert (trt.configs[0].builder_optimization_level, len(trt.configs)) == (4, 1)
    assert trt.BuilderFlag.TF32 in trt.configs[0].flags
    caplog.clear()
    with load(path, "cuda:0", rebuild=True) as again:
        assert again.info.rebuilt is None
    assert caplog.text == ""
    assert len(trt.configs) == 1


def test_the_profiles_stay_when_an_engine_is_built_again(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    profiles = [[(1, 3, 32, 32), (2, 3, 32, 32), (3, 3, 32, 32)], [(1, 3, 64, 64), (1, 3, 64, 96), (5, 3, 64, 128)]]
    path = write_engine(trt, profiles=profiles)
    before = read_record(path)
    trt.__version__ = "12.0"

    load(path, "cuda:0", rebuild=True).close()

    after = read_record(path)
    assert before is not None
    assert after is not None
    assert after.profiles == before.profiles
    assert after.artifact == before.artifact
    assert after.version == "12.0"


def test_nothing_is_built_again_unless_it_is_wanted(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(trt)
    trt.__version__ = "12.0"

    with pytest.raises(EngineVersionError):
        load(path, "cuda:0")
    assert trt.builders == 0


def test_a_damaged_engine_is_not_built_again(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(trt)
    path.write_bytes(b"odd")

    with pytest.raises(EngineDamagedError):
        load(path, "cuda:0", rebuild=True)
    assert trt.builders == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "which it was built from, is not there"), (b"{}", "is not the graph it was built from; `u2net compile")],
)
def test_without_its_graph_an_engine_is_not_built_again(
    trt: FakeTensorRT, write_engine: WriteEngine, tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = write_engine(trt)
    trt.__version__ = "12.0"
    if content is None:
        (tmp_path / "model.onnx").unlink()
    else:
        (tmp_path / "model.onnx").write_bytes(content)
    before = files(tmp_path)

    with pytest.raises(EngineBuildError, match=f"cannot be built again: .*{says}"):
        load(path, "cuda:0", rebuild=True)
    assert files(tmp_path) == before


@pytest.mark.parametrize("how", ["fails", "is interrupted"])
def test_a_build_that_ends_early_leaves_the_old_files(
    trt: FakeTensorRT, write_engine: WriteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = write_engine(trt)
    trt.__version__ = "12.0"
    before = files(tmp_path)
    if how == "fails":
        trt.errors = ["Error Code 10: Could not find any implementation for node stage1.conv"]
    else:
        monkeypatch.setattr("u2net.runtime.trt.building.plan.build_with_progress", interrupt)

    with pytest.raises(EngineBuildError if how == "fails" else KeyboardInterrupt):
        load(path, "cuda:0", rebuild=True)
    assert files(tmp_path) == before


def interrupt(*_arguments: Any, **_options: Any) -> None:
    raise KeyboardInterrupt


def test_an_engine_built_again_is_for_this_gpu_too(
    rtx: FakeTensorRT,
    write_engine: WriteEngine,
) -> None:
    """Ahead-of-time targets stay; the GPU that the engine is loaded on joins them."""
    path = write_engine(rtx, record={"targets": ("sm_89",)})

    with load(path, "cuda:0", rebuild=True) as session:
        works(session)

    record = read_record(path)
    assert record is not None
    assert record.targets == ("sm_89", "sm_86")
    assert list(rtx.configs[0].targets.values()) == [rtx.ComputeCapability.SM89, rtx.ComputeCapability.SM86]


def test_only_what_an_engine_is_for_is_said_in_the_log(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "u2net")
    works(session)

    assert caplog.text == ""
