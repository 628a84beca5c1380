import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnxruntime.capi.onnxruntime_pybind11_state import (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidProtobuf,
    RuntimeException,
)

from u2net.runtime.artifact import InputShape
from u2net.runtime.backend import InputSpec
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, DeviceError, InputError, OutOfMemoryError, U2NetError
from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend
from u2net.runtime.preprocess import FloatArray

CPU, CUDA = Device("cpu"), Device("cuda", 1)


class FakeSession:
    """Stands in for ``onnxruntime.InferenceSession``: remembers how it was made and runs on ``providers``."""

    made: list[tuple[Any, Any, Any]]
    used = "CPUExecutionProvider"
    error: Exception | None = None

    def __init__(self, _path: str, options: Any, providers: Any, **more: Any) -> None:
        self.made.append((options, providers, more))
        if self.error is not None:
            raise self.error

    def get_providers(self) -> list[str]:
        return [self.used, "CPUExecutionProvider"]


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    """An ONNX Runtime that claims CUDA."""
    kind = type("Session", (FakeSession,), {"made": []})
    monkeypatch.setattr(onnxruntime, "InferenceSession", kind)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    return kind


@pytest.mark.parametrize(
    ("sides", "shape"),
    [
        ({}, InputShape(None, None, None)),
        ({"batch": 4}, InputShape(4, None, None)),
        ({"height": 37, "width": 53}, InputShape(None, 37, 53)),
        ({"batch": 1, "height": 320}, InputShape(1, 320, None)),
    ],
)
def test_the_shape_is_what_the_file_declares(
    tiny_onnx: Callable[..., Path], sides: dict[str, int], shape: InputShape
) -> None:
    backend = OnnxRuntimeBackend(tiny_onnx(**sides), CPU)

    assert backend.input == InputSpec(shape)
    assert backend.artifact is None


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"channels": 1}, "float"),
        ({"channels": 4}, r"4, 'H', 'W'"),
        ({"inputs": 2}, "other: "),
    ],
)
def test_a_network_of_another_kind_is_named(
    tiny_onnx: Callable[..., Path], options: dict[str, int], found: str
) -> None:
    with pytest.raises(ArtifactError, match=rf"is not a U²-Net: its input is .*{found}"):
        OnnxRuntimeBackend(tiny_onnx(**options), CPU)


def test_a_network_without_outputs_is_named(tiny_onnx: Callable[..., Path], tmp_path: Path) -> None:
    model = onnx.load(tiny_onnx())
    del model.graph.output[:]
    onnx.save(model, tmp_path / "m.onnx")

    with pytest.raises(ArtifactError, match="no output"):
        OnnxRuntimeBackend(tmp_path / "m.onnx", CPU)


def test_run_computes(tiny_onnx: Callable[..., Path]) -> None:
    tensor = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)

    weighted = np.tensordot(tensor, np.array([0.7, -1.1, 0.4]), axes=(1, 0))
    for element, tolerance in ((TensorProto.FLOAT, 1e-5), (TensorProto.FLOAT16, 2e-3)):
        backend = OnnxRuntimeBackend(tiny_onnx(element=element), CPU)
        maps = backend.run(tensor, ["d0"])["d0"]
        assert maps.dtype == np.float32
        np.testing.assert_allclose(maps[:, 0], 1 / (1 + np.exp(-weighted)), atol=tolerance)


def test_a_tensor_that_onnxruntime_refuses_is_an_input_error(tiny_onnx: Callable[..., Path]) -> None:
    backend = OnnxRuntimeBackend(tiny_onnx(height=32, width=32), CPU)

    with pytest.raises(InputError, match=r"\(1, 3, 64, 32\)"):
        backend.run(np.zeros((1, 3, 64, 32), np.float32), ["d0"])


def test_falling_back_to_the_processor_is_an_error(
    tiny_onnx: Callable[..., Path], fake_cuda: type[FakeSession]
) -> None:
    with pytest.raises(DeviceError, match=r"loaded by ONNX Runtime on cuda:1: it fell back to CPUExecutionProvider; "):
        OnnxRuntimeBackend(tiny_onnx(), CUDA)
    assert fake_cuda.made


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (RuntimeError("CUDA failure 100: no CUDA-capable device is detected"), DeviceError, "cuda:1: CUDA failure 100"),
        (Fail("This session contains graph nodes that are assigned to the default CPU EP"), DeviceError, "default CPU"),
        (Fail("x"), DeviceError, r"libcudnn\.so\.9, libcufft\.so\.11 may be missing: .*\[gpu\].*u2net doctor"),
        (Fail("CUDA failure 2: out of memory"), OutOfMemoryError, "out of memory; use a smaller batch"),
        (InvalidProtobuf("Protobuf parsing failed"), ArtifactError, "parsing failed$"),
    ],
)
def test_a_failure_to_open_on_cuda_is_a_device_error_unless_the_file_is_damaged(
    tiny_onnx: Callable[..., Path],
    fake_cuda: type[FakeSession],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    error: Exception,
    kind: type[U2NetError],
    says: str,
) -> None:
    """ONNX Runtime prints the names of the libraries that it does not find."""
    printed = "Failed to load libcudnn.so.9: no such file\nFailed to load libcufft.so.11: no such file"
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print(printed))
    fake_cuda.error = error

    with pytest.raises(U2NetError, match=says) as caught:
        OnnxRuntimeBackend(tiny_onnx(), CUDA)
    assert caught.type is kind
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("device", "error", "kind"),
    [
        (CUDA, Fail("CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR"), DeviceError),
        (CUDA, EPFail("CUDA failure 999: unknown error"), DeviceError),
        (CUDA, Fail("CUDA failure 2: out of memory"), OutOfMemoryError),
        (CPU, RuntimeException("Failed to allocate memory for requested buffer of size 9"), OutOfMemoryError),
        (CPU, Fail("Non-zero status code returned while running Concat node"), ArtifactError),
        (CUDA, InvalidArgument("Got invalid dimensions for input"), InputError),
    ],
)
def test_a_failed_run_blames_the_tensor_the_memory_the_device_or_the_file(
    tiny_onnx: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    device: Device,
    error: Exception,
    kind: type[U2NetError],
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    backend = OnnxRuntimeBackend(tiny_onnx(), CPU)
    tensor = np.zeros((1, 3, 4, 4), np.float32)
    backend.run(tensor, ["d0"])
    monkeypatch.setattr(backend, "_device", device)
    monkeypatch.setattr(backend._session, "run_with_iobinding", fail)

    with pytest.raises(U2NetError, match=str(error)) as caught:
        backend.run(tensor, ["d0"])
    assert caught.type is kind


@pytest.mark.parametrize("tf32", [True, False])
def test_cuda_gets_its_number_and_tf32_and_no_way_back(
    tiny_onnx: Callable[..., Path], fake_cuda: type[FakeSession], tf32: bool
) -> None:
    with pytest.raises(DeviceError):
        OnnxRuntimeBackend(tiny_onnx(), CUDA, tf32=tf32)

    options, providers, more = fake_cuda.made[0]
    settings = {
        "device_id": 1,
        "use_tf32": int(tf32),
        "enable_cuda_graph": 0,
        "prefer_nhwc": 1,
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }
    assert providers == [("CUDAExecutionProvider", settings)]
    assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
    assert more == {"enable_fallback": False}


def run(backend: OnnxRuntimeBackend, tensor: FloatArray) -> FloatArray:
    return backend.run(tensor, ["d0"])["d0"]


@pytest.mark.parametrize("graph", [False, True])
def test_bound_runs_give_what_plain_runs_give(tiny_onnx: Callable[..., Path], graph: bool) -> None:
    """Shapes and values change between runs, so that memory used again by mistake would give wrong maps."""
    backend = OnnxRuntimeBackend(tiny_onnx(), CPU)
    backend._graph = graph  # a processor ignores the number of the graph
    rng, found = np.random.default_rng(0), []
    for batch in (1, 1, 2, 2, 1, 3, 1, 2, 2):
        tensor = rng.normal(size=(batch, 3, 8, 8)).astype(np.float32)
        found.append((tensor, run(backend, tensor)))

    for tensor, maps in found:
        np.testing.assert_array_equal(maps, backend._session.run(["d0"], {"input": tensor})[0])
    recorded = backend._recorded
    assert (recorded is not None) == graph
    if recorded is not None:
        assert recorded.key[0] == (1, 3, 8, 8), "the first shape that came twice in a row"


def test_without_a_cuda_graph_runs_are_plain(
    tiny_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backend = OnnxRuntimeBackend(tiny_onnx(), CPU)
    backend._graph = True
    tensor = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    wanted = run(backend, tensor)

    def fail(*_arguments: object) -> None:
        raise Fail("CUDA failure 900: operation not permitted when stream is capturing")

    monkeypatch.setattr(backend._session, "run_with_iobinding", fail)

    np.testing.assert_array_equal(run(backend, tensor), wanted)
    assert "no CUDA graph, each run is plain: CUDA failure 900" in caplog.text
    assert backend._recorded is None and not backend._graph


@pytest.mark.parametrize(("contexts", "asked", "enabled"), [(1, True, 1), (1, False, 0), (4, True, 0)])
def test_a_cuda_graph_needs_one_run_at_a_time(
    tiny_onnx: Callable[..., Path], fake_cuda: type[FakeSession], contexts: int, asked: bool, enabled: int
) -> None:
    with pytest.raises(DeviceError):
        OnnxRuntimeBackend(tiny_onnx(), CUDA, contexts=contexts, cuda_graph=asked)

    assert fake_cuda.made[0][1][0][1]["enable_cuda_graph"] == enabled


CALLERS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from u2net.runtime import load
path, threads, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
with load(path, threads=1) as session, ThreadPoolExecutor(threads) as callers:
    list(callers.map(lambda _: session(image).shape, range(calls)))
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""
"""Calls a session from some threads and prints the peak memory of its process in KiB."""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's account of a process's memory")
def test_many_callers_need_little_more_memory_than_one(small_onnx: Path) -> None:
    def peak(threads: int) -> int:
        command = [sys.executable, "-c", CALLERS, str(small_onnx), str(threads), "64"]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert peak(64) < 1.3 * peak(1)
