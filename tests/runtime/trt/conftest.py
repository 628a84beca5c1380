"""A fake CUDA and fake TensorRTs in the place of the real ones, and engines for them."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cuda import bindings

from tests.runtime.trt.fake_builder import NETWORK
from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import PROFILES, FakeTensorRT
from u2net.runtime import Session, load
from u2net.runtime.artifact import Artifact, InputShape
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.building import Plan, Source
from u2net.runtime.trt.cuda import Gpu, open_cuda
from u2net.runtime.trt.flavours import Flavour
from u2net.runtime.trt.options import EngineOptions
from u2net.runtime.trt.profiles import Profile
from u2net.runtime.trt.record import describe_plan, record_path

ARTIFACT = Artifact(
    variant="u2netp",
    checkpoint_sha256="ab" * 32,
    preset=PRESETS["raw"].with_size(32, 32),
    precision="fp16",
    shape=InputShape(None, None, None),
    outputs=("d0",),
    classes=1,
    opset=17,
)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[FakeCudaRuntime]:
    """The fake CUDA; after the test nothing of it may be left over, and it must not have been misused."""
    fake = FakeCudaRuntime()
    monkeypatch.setattr(bindings, "runtime", fake)
    open_cuda.cache_clear()
    yield fake
    open_cuda.cache_clear()
    caplog.get_records("call").clear()  # an exception that was logged keeps what it passed through
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


WriteEngine = Callable[..., Path]


@pytest.fixture
def write_engine(tmp_path: Path) -> WriteEngine:
    """Write a plan, its record and the graph it came from; keywords change the plan, ``record`` the record."""

    def write(module: FakeTensorRT, name: str = "model.engine", *, record: Any = (), **facts: Any) -> Path:
        path, onnx = tmp_path / name, tmp_path / "model.onnx"
        content = module.make_plan(**facts)
        path.write_bytes(content)
        onnx.write_text(json.dumps(NETWORK))
        flavour: Flavour = "tensorrt-rtx" if module.kind == "rtx" else "tensorrt"
        gpu = None if module.kind == "rtx" else Gpu(0, "Fake GPU", "8.6", 1 << 30)
        profiles = tuple(map(Profile.from_shapes, facts.get("profiles", PROFILES)))
        plan = Plan(content, flavour, module.__version__, gpu, profiles, 0.5)
        made = describe_plan(plan, Source(onnx, "fp16", 17), EngineOptions(), path, ARTIFACT)
        record_path(path).write_text(replace(made, **dict(record)).to_json())
        return path

    return write


@pytest.fixture
def session(trt: FakeTensorRT, write_engine: WriteEngine) -> Iterator[Session]:
    """An engine of the full TensorRT for 1:2:4×3×32:32:64×32:32:64."""
    with load(write_engine(trt), "cuda:0") as opened:
        yield opened
