"""Simulated CUDA and TensorRT in place of the real ones, and engines for them."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda import bindings

from tests.runtime.trt.fake_builder import NETWORK
from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import PROFILES, FakeTensorRT, expected
from u2net.runtime import Session, load
from u2net.runtime.artifact import Artifact, InputShape
from u2net.runtime.files import hash_bytes, hash_file
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.profiles import Profile
from u2net.runtime.trt.record import EngineRecord
from u2net.runtime.trt.record import write_engine as write_engine_files

ARTIFACT = Artifact(
    variant="u2netp",
    checkpoint_sha256="ab" * 32,
    preset=PRESETS["raw"].with_size(32, 32),
    precision="fp16",
    shape=InputShape(None, None, None),
    outputs=("d0",),
    classes=1,
    opset=17,
    fp32_nodes=(),
)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[FakeCudaRuntime]:
    """The simulated CUDA. After the test it must not have been misused, and nothing in it may be left allocated."""
    fake = FakeCudaRuntime()
    monkeypatch.setattr(bindings, "runtime", fake)
    open_cuda.cache_clear()
    yield fake
    open_cuda.cache_clear()
    caplog.get_records("call").clear()  # a logged exception keeps the frames that it passed through
    if fake.leaks():
        gc.collect()
    assert fake.complaints == []
    assert fake.leaks() == []


def _installed(module: FakeTensorRT, name: str, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    for other in ("tensorrt", "tensorrt_rtx", "tensorrt_bindings", "tensorrt_rtx_bindings"):
        monkeypatch.delitem(sys.modules, other, raising=False)
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.fixture
def trt(cuda: FakeCudaRuntime, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """The full TensorRT, version 10."""
    return _installed(FakeTensorRT(cuda), "tensorrt", monkeypatch)


@pytest.fixture
def old(cuda: FakeCudaRuntime, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """The full TensorRT, version 8.6."""
    return _installed(FakeTensorRT(cuda, "8.6"), "tensorrt", monkeypatch)


@pytest.fixture
def rtx(cuda: FakeCudaRuntime, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """TensorRT-RTX."""
    return _installed(FakeTensorRT(cuda, "rtx"), "tensorrt_rtx", monkeypatch)


RECORD = EngineRecord(
    flavour="tensorrt",
    version="10",
    gpu="Fake GPU",
    compute_capability="8.6",
    targets=(),
    precision="fp16",
    profiles=(),
    opt_level=None,
    tf32=False,
    onnx="model.onnx",
    onnx_sha256="",
    opset=17,
    plan_bytes=0,
    plan_sha256="",
    seconds=0.5,
    artifact=ARTIFACT,
    layers=(),
)


def record_of(plan: bytes, **changes: Any) -> EngineRecord:
    """A record that describes these bytes."""
    return replace(RECORD, **{"plan_bytes": len(plan), "plan_sha256": hash_bytes(plan), **changes})


def noise(*shape: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def check(session: Session, tensor: FloatArray) -> None:
    """Compare what an engine gives with what the simulated one computes."""
    np.testing.assert_allclose(session.infer(tensor)["d0"], expected(tensor), rtol=1e-6)


WriteEngine = Callable[..., Path]


@pytest.fixture
def write_engine(tmp_path: Path) -> WriteEngine:
    """Write a plan, its record and its graph; keywords change the plan, ``record`` changes the record."""

    def write(module: FakeTensorRT, name: str = "model.engine", *, record: Any = (), **facts: Any) -> Path:
        path, onnx, plan = tmp_path / name, tmp_path / "model.onnx", module.make_plan(**facts)
        onnx.write_text(json.dumps(NETWORK))
        ahead = {"flavour": "tensorrt-rtx", "gpu": None, "compute_capability": None} if module.kind == "rtx" else {}
        images, shapes = facts.get("images", False), facts.get("profiles", PROFILES)
        profiles = tuple(Profile.from_shapes(each, images=images) for each in shapes)
        known = {"version": module.__version__, "profiles": profiles, "onnx_sha256": hash_file(onnx), **ahead}
        write_engine_files(path, plan, record_of(plan, **{**known, **dict(record)}))
        return path

    return write


@pytest.fixture
def session(trt: FakeTensorRT, write_engine: WriteEngine) -> Iterator[Session]:
    """An engine of the full TensorRT for 1:2:4×3×32:32:64×32:32:64."""
    with load(write_engine(trt), "cuda:0") as opened:
        yield opened


def files(folder: Path) -> dict[str, bytes]:
    """Content of each file by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
