"""OpenVINO beside ONNX Runtime on the same files, and the choice between them."""

import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from u2net.runtime import Session, load
from u2net.runtime.backend import InputSpec
from u2net.runtime.device import CPU, CUDA
from u2net.runtime.doctor import examine
from u2net.runtime.errors import ArtifactError, DependencyError, DeviceError, InputError, OutOfMemoryError
from u2net.runtime.loading import BackendName, find_fastest
from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend
from u2net.runtime.openvino_backend import OpenVinoBackend, _new_request, computes_in_bf16
from u2net.runtime.pool import Pool
from u2net.runtime.preprocess import FloatArray, preprocess_batch

HAS_BF16 = computes_in_bf16()

ZEROS = np.zeros((1, 3, 32, 32), np.float32)


def pictures(session: Session, count: int) -> Any:
    images = np.random.default_rng(0).integers(0, 256, (count, 200, 150, 3), np.uint8)
    return preprocess_batch(list(images), session.info.preset)


def test_a_file_describes_itself_as_in_onnxruntime(small_onnx: Path, session: Session) -> None:
    with load(small_onnx, backend="openvino") as other:
        ours, theirs = session.info, other.info

    assert theirs.backend.startswith("openvino 20") and theirs.provider == "CPU, FP32"
    assert (theirs.shape, theirs.preset, theirs.preset_stated) == (ours.shape, ours.preset, True)
    assert (theirs.precision, theirs.checkpoint_sha256) == (ours.precision, ours.checkpoint_sha256)


def test_fp32_equals_onnxruntime(small_onnx: Path, session: Session) -> None:
    tensor = pictures(session, 3)
    with load(small_onnx, backend="openvino") as other:
        np.testing.assert_allclose(other.infer(tensor)["d0"], session.infer(tensor)["d0"], atol=5e-6)


@pytest.mark.skipif(not HAS_BF16, reason="this processor does not compute in BF16")
def test_bf16_is_used_only_when_asked_for_and_says_so(small_onnx: Path, session: Session) -> None:
    tensor = pictures(session, 2)
    with load(small_onnx, backend="openvino-bf16") as other:
        difference = np.abs(other.infer(tensor)["d0"] - session.infer(tensor)["d0"]).mean()

        assert (other.info.precision, other.info.provider) == ("bf16", "CPU, BF16")
    assert 1e-5 < difference < 2e-2


def test_a_processor_without_bf16_is_told(small_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("u2net.runtime.openvino_backend.computes_in_bf16", lambda: False)

    with pytest.raises(DeviceError, match="does not compute in BF16; backend='openvino'"):
        load(small_onnx, backend="openvino-bf16")
    assert find_fastest(CPU) == "openvino"


def test_auto_takes_the_fastest_and_says_which(small_onnx: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted = "openvino-bf16" if HAS_BF16 else "openvino"
    with caplog.at_level(logging.INFO, "u2net.loading"), load(small_onnx, backend="auto") as session:
        assert session.info.backend.split()[0] == wanted.removesuffix("-bf16")
    assert f"runs in {wanted}" in caplog.text


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_closed_session_is_freed_at_once(small_onnx: Path, backend: BackendName) -> None:
    """Not only by the garbage collector, which does not know how much memory a network takes."""
    gc.disable()
    try:
        session = load(small_onnx, backend=backend)
        session(np.zeros((9, 9, 3), np.uint8))
        network = weakref.ref(session._backend)
        session.close()
        assert network() is None
    finally:
        gc.enable()


def test_without_openvino_auto_is_onnxruntime(small_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)

    assert find_fastest(CPU) == "onnxruntime"
    assert doctor_says("not here")
    with pytest.raises(DependencyError, match=r"pip install 'u2net-deploy\[openvino\]'"):
        load(small_onnx, backend="openvino")


def test_on_a_gpu_auto_is_onnxruntime() -> None:
    assert find_fastest(CUDA) == "onnxruntime"


def test_a_broken_openvino_counts_as_none_and_doctor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bool:
        raise RuntimeError("a plugin is missing")

    assert doctor_says("works")
    for place in ("openvino_backend", "doctor"):
        monkeypatch.setattr(f"u2net.runtime.{place}.computes_in_bf16", fail)

    assert find_fastest(CPU) == "onnxruntime"
    assert doctor_says("does not work")


def doctor_says(state: str) -> bool:
    return [found.state for found in examine() if found.subject == "OpenVINO"] == [state]


def test_what_cannot_be_chosen_is_refused(small_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no backend 'tflite'; there are auto, onnxruntime, openvino"):
        load(small_onnx, backend="tflite")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is an engine, which TensorRT runs"):
        load(tmp_path / "model.engine", "cuda", backend="openvino")
    with pytest.raises(DeviceError, match="OpenVINO runs on the processor"):
        load(small_onnx, "cuda", backend="openvino")


@pytest.mark.parametrize("content", [b"", b"no graph at all"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)

    with pytest.raises(ArtifactError, match=r"damaged\.onnx cannot be loaded by OpenVINO: it is damaged, or no ONNX"):
        load(path, backend="openvino", preset="reference")
    with pytest.raises(ArtifactError, match="no such file"):
        load(tmp_path / "missing.onnx", backend="openvino")


def test_nan_is_not_hidden(tiny_onnx: Callable[..., Path], tmp_path: Path) -> None:
    """OpenVINO's own ReLU makes 0 of it."""
    backend = OpenVinoBackend(tiny_onnx(), CPU)
    with pytest.raises(InputError, match="NaN"):
        backend.run(np.full((1, 3, 8, 8), np.nan, np.float32), ["d0"])

    model = onnx.load(tiny_onnx())
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights).copy()
        values.flat[0] = np.nan
        weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    onnx.save(model, tmp_path / "nan.onnx")
    with pytest.raises(ArtifactError, match=r"nan\.onnx holds NaN or Inf among its weights"):
        OpenVinoBackend(tmp_path / "nan.onnx", CPU)


@pytest.mark.parametrize("options", [{}, {"batch": 4}, {"height": 37, "width": 53}, {"element": TensorProto.FLOAT16}])
def test_foreign_files_have_the_same_shape_and_maps(tiny_onnx: Callable[..., Path], options: dict[str, int]) -> None:
    path = tiny_onnx(**options)
    backends = OpenVinoBackend(path, CPU), OnnxRuntimeBackend(path, CPU)
    tensor = np.random.default_rng(0).normal(size=(2, 3, 37, 53)).astype(np.float32)
    maps = [backend.run(tensor, ["d0"])["d0"] for backend in backends]

    assert backends[0].input == backends[1].input == InputSpec(backends[1].input.shape)
    assert backends[0].artifact is None
    assert len(maps[0]) == len(maps[1]) == 2
    np.testing.assert_allclose(maps[0], maps[1], atol=2e-3)


@pytest.mark.parametrize(("options", "found"), [({"channels": 4}, "4"), ({"inputs": 2}, "other: ")])
def test_a_network_of_another_kind_is_named(
    tiny_onnx: Callable[..., Path], options: dict[str, int], found: str
) -> None:
    with pytest.raises(ArtifactError, match=rf"is not a U²-Net: its input is .*{found}"):
        OpenVinoBackend(tiny_onnx(**options), CPU)


def test_a_refused_tensor_and_a_full_memory_are_told_apart(
    tiny_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend_file = tiny_onnx(height=32, width=32)
    backend = OpenVinoBackend(backend_file, CPU)

    with pytest.raises(InputError, match=r"\(1, 3, 64, 32\)"):
        backend.run(np.zeros((1, 3, 64, 32), np.float32), ["d0"])

    def fail(*_tensors: object, **_options: object) -> None:
        raise RuntimeError("std::bad_alloc")

    backend = OpenVinoBackend(backend_file, CPU)
    monkeypatch.setattr(
        backend, "_requests", Pool(partial(_new_request, SimpleNamespace(create_infer_request=fail)), 1)
    )
    with pytest.raises(OutOfMemoryError, match="smaller batch"):
        backend.run(ZEROS, ["d0"])


def test_outputs_keep_the_file_s_names(tiny_onnx: Callable[..., Path], tmp_path: Path) -> None:
    """Compiling removes an Identity, and the name of its output with it."""
    model = onnx.load(tiny_onnx())
    (last,) = [node for node in model.graph.node if "d0" in node.output]
    last.output[0] = "inner"
    model.graph.node.append(helper.make_node("Identity", ["inner"], ["d0"]))
    path = tmp_path / "identity.onnx"
    onnx.save(model, path)
    backend = OpenVinoBackend(path, CPU)

    assert backend.outputs == ("d0",)
    assert backend.run(ZEROS, ["d0"])["d0"].shape == (1, 1, 32, 32)


def test_only_as_many_runs_hold_memory_as_are_allowed_at_once(
    tiny_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = OpenVinoBackend(tiny_onnx(), CPU, contexts=2)
    inside, most = list[int](), list[int]()

    def run(tensor: FloatArray, _batch: object) -> FloatArray:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return tensor

    monkeypatch.setattr("u2net.runtime.openvino_backend.padded", run)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _index: backend.run(ZEROS, ["d0"]), range(16)))

    assert len(most) == 16 and max(most) <= 2


@pytest.mark.parametrize(("backend", "contexts"), [("onnxruntime", 1), ("openvino", 1), ("openvino", 3)])
def test_threads_get_their_own_masks(small_onnx: Path, backend: BackendName, contexts: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (8, 90, 70, 3), np.uint8)
    with load(small_onnx, backend=backend, contexts=contexts, threads=2) as session:
        wanted = [session(image) for image in images]
        start = threading.Barrier(8)

        def work(index: int) -> None:
            start.wait(timeout=60)
            for turn in range(3):
                at = (index + turn) % 8
                np.testing.assert_allclose(session(images[at]), wanted[at], atol=1e-5)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))


CLOSED_BY_ANOTHER_THREAD = """
import gc, signal, sys, threading
from u2net.runtime import load

def close(sessions):
    sessions.pop().close()
    gc.collect()

sessions = [load(sys.argv[1], backend="openvino")]
thread = threading.Thread(target=close, args=[sessions])
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda *_: print("received"))
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_is_received_after_another_thread_closed_the_session(small_onnx: Path) -> None:
    """OpenVINO replaces a thread's stack for signals, and would unmap it for good in the wrong thread."""
    command = [sys.executable, "-c", CLOSED_BY_ANOTHER_THREAD, str(small_onnx)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)

    assert (done.returncode, done.stdout.split()) == (0, ["received"])
