"""Covers running/opening.py and compiling.py: which engines are refused, with which error, and which are rebuilt."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.trt.conftest import WriteEngine, files
from tests.runtime.trt.fake_builder import NETWORK
from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import END, LAYER, MAGIC, MALFORMED, FakeTensorRT, Runtime
from u2net.runtime import Session, load
from u2net.runtime.errors import (
    NO_MEMORY_WORDS,
    ArtifactError,
    DependencyError,
    DeviceError,
    DriverMissingError,
    EngineBuildError,
    EngineDamagedError,
    EngineGpuError,
    EngineVersionError,
    OutOfMemoryError,
)
from u2net.runtime.files import hash_bytes, locked_folder
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.flavours import FLAVOUR_EXTRAS
from u2net.runtime.trt.record import EngineRecord, read_record, record_path
from u2net.runtime.trt.running.opening import REFUSALS

PRESET = PRESETS["raw"].with_size(32, 32)


def works(session: Session) -> None:
    np.testing.assert_allclose(session(np.full((32, 32, 3), 51, np.uint8)), 0.2, rtol=1e-5)


def unrecorded(path: Path) -> Path:
    record_path(path).unlink()
    return path


@pytest.mark.parametrize("suffix", [".engine", ".plan", ".trt", ".ENGINE"])
def test_an_engine_is_known_by_its_suffix(trt: FakeTensorRT, write_engine: WriteEngine, suffix: str) -> None:
    with load(write_engine(trt, f"model{suffix}"), "cuda") as session:
        works(session)


@pytest.mark.usefixtures("trt")
def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no\.engine: there is no such file"):
        load(tmp_path / "no.engine", "cuda:0")


def test_without_a_driver_tensorrt_is_not_called(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime
) -> None:
    """The real runtime would crash; the simulated one complains."""
    path = write_engine(trt)
    cuda.driver = 0

    with pytest.raises(DriverMissingError):
        load(path, "cuda:1")
    assert "cudaSetDevice" not in cuda.calls


@pytest.mark.parametrize("flavour", list(FLAVOUR_EXTRAS))
def test_a_flavour_that_is_not_installed_is_named(
    trt: FakeTensorRT, write_engine: WriteEngine, monkeypatch: pytest.MonkeyPatch, flavour: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    path = write_engine(trt, record={"flavour": flavour})

    with pytest.raises(
        DependencyError, match=rf"^{flavour} is not installed; `pip install 'u2net-deploy\[(gpu|rtx)\]'"
    ):
        load(path, "cuda:0")


def test_without_a_record_there_is_a_warning_and_a_preset_must_be_named(
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


def test_an_altered_plan_is_refused_and_not_rebuilt(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(trt)
    path.write_bytes(path.read_bytes().replace(b'"d0"', b'"d1"'))

    with pytest.raises(EngineDamagedError, match=r"is not the plan that model\.engine\.json describes"):
        load(path, "cuda:0", rebuild=True)
    assert trt.built_on == []


@pytest.mark.parametrize("content", [b"", b"this is no engine", MAGIC, bytes(range(256))])
@pytest.mark.parametrize("kind", ["trt", "rtx"])
def test_a_foreign_file_is_refused(request: pytest.FixtureRequest, tmp_path: Path, content: bytes, kind: str) -> None:
    """The name of one file contains words by which other errors are recognized."""
    request.getfixturevalue(kind)
    path = tmp_path / "different gpu, version mismatch.engine"
    path.write_bytes(content)

    with pytest.raises(EngineDamagedError, match=r"\.engine cannot be opened by tensorrt.* on Fake GPU: .*magicTag"):
        load(path, "cuda:0", preset=PRESET)


@pytest.mark.parametrize("kind", ["trt", "rtx"])
@pytest.mark.parametrize("recorded", [True, False])
def test_an_engine_of_another_tensorrt_is_refused(
    request: pytest.FixtureRequest, write_engine: WriteEngine, kind: str, recorded: bool
) -> None:
    module: FakeTensorRT = request.getfixturevalue(kind)
    path = write_engine(module)
    module.__version__ = "12.0"

    with pytest.raises(
        EngineVersionError, match=r"this is 12\.0.*rebuild=True" if recorded else "Version tag.*with this one"
    ):
        load(path if recorded else unrecorded(path), "cuda:0", preset=PRESET)
    assert module.built_on == []


@pytest.mark.parametrize("recorded", [True, False])
def test_an_engine_of_another_gpu_is_refused(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, recorded: bool
) -> None:
    path = write_engine(trt)
    cuda.capability = (8, 9)

    with pytest.raises(
        EngineGpuError, match=r"but this is Fake GPU \(8\.9\).*rebuild=True" if recorded else "expecting compute 8.9"
    ):
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
def test_messages_of_the_full_tensorrt_determine_the_error(
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


DIAGNOSTICS = [name.upper() for name in REFUSALS if "_" in name and name not in NO_MEMORY_WORDS]


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_diagnostics_of_tensorrt_rtx_determine_the_error(
    rtx: FakeTensorRT, write_engine: WriteEngine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    members, (kind, remedy) = rtx.EngineInvalidityDiagnostics.__members__, REFUSALS[name.lower()]
    monkeypatch.setattr(Runtime, "_judge", lambda *_arguments: (int(members[name]) | MALFORMED, "it is refused"))

    with pytest.raises((ArtifactError, DeviceError), match="it is refused") as caught:
        load(write_engine(rtx), "cuda:0")
    assert caught.type is kind
    assert str(caught.value).endswith(remedy)


def test_every_diagnostic_of_the_real_tensorrt_rtx_has_an_error() -> None:
    library = pytest.importorskip("tensorrt_rtx_bindings")

    assert set(library.EngineInvalidityDiagnostics.__members__) == set(DIAGNOSTICS)


def test_an_engine_for_other_targets_is_refused(rtx: FakeTensorRT, write_engine: WriteEngine) -> None:
    with pytest.raises(EngineGpuError, match=r"for sm_89, but this is Fake GPU \(sm_86\); .* with --target sm_86"):
        load(write_engine(rtx, record={"targets": ("sm_89",)}), "cuda:0")
    with load(write_engine(rtx, record={"targets": ("sm_89", "sm_86")}), "cuda:0") as session:
        works(session)


# --- rebuilding ----------------------------------------------------------------------------------------------------


def make_stale(module: FakeTensorRT, cuda: FakeCudaRuntime, path: Path, why: str) -> None:
    """Change the engine to one of another TensorRT or GPU."""
    if why == "version":
        module.__version__ = "12.0"
    elif why == "plan":  # the record fits, but TensorRT refuses the plan
        other = MAGIC + json.dumps({**NETWORK, "version": "9", "cc": [8, 6]}).encode() + END
        record = json.loads(record_path(path).read_text())
        path.write_bytes(other)
        record |= {"plan_bytes": len(other), "plan_sha256": hash_bytes(other)}
        record_path(path).write_text(json.dumps(record))
    else:
        cuda.capability = (9, 0)


def record_at(path: Path) -> EngineRecord:
    record = read_record(path)
    assert record is not None
    return record


@pytest.mark.parametrize("why", ["version", "gpu", "plan"])
def test_a_stale_engine_is_rebuilt_on_request(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    profiles = [[(1, 3, 32, 32), (2, 3, 32, 32), (3, 3, 32, 32)], [(1, 3, 64, 64), (1, 3, 64, 96), (5, 3, 64, 128)]]
    path = write_engine(trt, profiles=profiles, record={"opt_level": 4, "tf32": True})
    before = record_at(path)
    make_stale(trt, cuda, path, why)

    with load(path, "cuda:0", rebuild=True) as session:
        works(session)
        assert session.info.rebuilt
        assert {"version": "but this is 12.0", "gpu": "(9.0)", "plan": "Version tag"}[why] in session.info.rebuilt
        assert session.info.precision == "fp16"

    assert f"building {path} again from {path.with_name('model.onnx')}" in caplog.text
    assert f"built {path} again with tensorrt {trt.__version__} in" in caplog.text
    after = record_at(path)
    assert (after.profiles, after.artifact, after.opt_level, after.tf32) == (before.profiles, before.artifact, 4, True)
    assert (after.version, after.plan_sha256) == (trt.__version__, hash_bytes(path.read_bytes()))
    assert [layer.name for layer in after.layers] == [LAYER]
    assert (trt.configs[0].builder_optimization_level, len(trt.configs)) == (4, 1)
    caplog.clear()
    with load(path, "cuda:0", rebuild=True) as again:
        assert again.info.rebuilt is None
    assert caplog.text == ""
    assert len(trt.configs) == 1


def test_an_engine_is_rebuilt_on_the_gpu_that_was_asked_for(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime
) -> None:
    cuda.devices = 2
    path = write_engine(trt)
    trt.__version__ = "12.0"

    with load(path, "cuda:1", rebuild=True) as session:
        works(session)
        assert {thing.device for thing in cuda.live.values() if hasattr(thing, "device")} == {1}
    assert (trt.built_on, cuda.device) == ([1], 0)


@contextmanager
def loading_while_locked(path: Path, *, loads: int = 1, **options: Any) -> Iterator[list[Future[Session]]]:
    """Start loads in threads, and hold the lock of the engine's folder while the caller changes files."""
    with ThreadPoolExecutor(loads) as threads, ExitStack() as stack:
        stack.enter_context(locked_folder(path.parent))
        opened = [threads.submit(load, path, "cuda:0", **options) for _ in range(loads)]
        wait(opened, timeout=0.5)
        yield opened
        stack.close()
        for each in opened:
            each.result().close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot lock a folder")
def test_an_engine_that_is_being_replaced_is_read_when_that_is_done(
    trt: FakeTensorRT, write_engine: WriteEngine
) -> None:
    path = write_engine(trt)
    record, before = record_path(path), record_path(path).read_bytes()
    record.write_bytes(before.replace(hash_bytes(path.read_bytes()).encode(), b"0" * 64))  # of another plan

    with loading_while_locked(path) as opened:
        record.write_bytes(before)
    assert opened[0].result().info.rebuilt is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot lock a folder")
def test_of_several_loads_at_once_one_rebuilds(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(trt)
    trt.__version__ = "12.0"

    with loading_while_locked(path, loads=4, rebuild=True) as opened:
        pass

    assert len(trt.configs) == 1
    assert sum(each.result().info.rebuilt is not None for each in opened) == 1


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda onnx: onnx.unlink(), "which it was built from, is not there"),
        (lambda onnx: onnx.write_bytes(b"{}"), "is not the graph it was built from; `u2net compile"),
        (lambda onnx: unrecorded(onnx.with_suffix(".engine")), r"no record beside it names its graph .*Version tag"),
    ],
)
def test_without_its_graph_an_engine_is_not_rebuilt(
    trt: FakeTensorRT, write_engine: WriteEngine, tmp_path: Path, spoil: Any, says: str
) -> None:
    path = write_engine(trt)
    trt.__version__ = "12.0"
    spoil(tmp_path / "model.onnx")
    before = files(tmp_path)

    with pytest.raises(EngineBuildError, match=f"cannot be built again: .*{says}"):
        load(path, "cuda:0", rebuild=True)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("how", "kind"),
    [("fails", EngineBuildError), ("is interrupted", KeyboardInterrupt), ("does not open", OutOfMemoryError)],
)
def test_an_unsuccessful_rebuild_keeps_the_old_files(
    trt: FakeTensorRT,
    write_engine: WriteEngine,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    kind: type[BaseException],
) -> None:
    path = write_engine(trt)
    trt.__version__ = "12.0"
    before = files(path.parent)
    if how == "fails":
        trt.errors = ["Error Code 10: Could not find any implementation for node stage1.conv"]
    elif how == "is interrupted":
        monkeypatch.setattr("u2net.runtime.trt.building.plan.build_with_progress", interrupt)
    else:
        trt.cuda.allowed = 0

    with pytest.raises(kind):
        load(path, "cuda:0", rebuild=True)
    assert files(path.parent) == before


def interrupt(*_arguments: Any) -> None:
    raise KeyboardInterrupt


def test_a_rebuilt_engine_is_for_this_gpu_too(rtx: FakeTensorRT, write_engine: WriteEngine) -> None:
    """Targets of the first build stay, and the GPU that the engine is loaded on is added."""
    path = write_engine(rtx, record={"targets": ("sm_89",)})

    with load(path, "cuda:0", rebuild=True) as session:
        works(session)

    assert record_at(path).targets == ("sm_89", "sm_86")
    assert list(rtx.configs[0].targets.values()) == [rtx.ComputeCapability.SM89, rtx.ComputeCapability.SM86]
