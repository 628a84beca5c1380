"""Covers the rows of runtime/doctor.py and packages.py that depend on a GPU; test_cli_doctor.py covers the others."""

from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import FakeTensorRT
from u2net.runtime import doctor
from u2net.runtime.device import CPU
from u2net.runtime.doctor import Finding
from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend

BOTH = ["CUDAExecutionProvider", "CPUExecutionProvider"]


def find(title: str) -> Finding:
    (found,) = [finding for finding in doctor.examine() if finding.subject == title]
    return found


@pytest.mark.parametrize(
    ("kind", "changes", "state", "says"),
    [
        ("trt", {}, "works", "tensorrt 10.16.0.72; Fake GPU (compute capability 8.6)"),
        ("rtx", {}, "works", "tensorrt-rtx 1.7.1.116; Fake GPU (compute capability 8.6)"),
        ("trt", {"driver": 0}, "not here", "is installed, but unusable: there is no NVIDIA driver"),
        ("rtx", {"driver": 0}, "builds only", "builds engines here, but cannot run them: there is no NVIDIA driver"),
        ("rtx", {"devices": 0}, "builds only", "cannot run them: the NVIDIA driver sees no GPU"),
        ("trt", {"capability": (9, 0)}, "works", "compute capability 9.0"),
        ("rtx", {"capability": (9, 0)}, "builds only", "cannot run them: it does not support Fake GPU"),
    ],
)
def test_a_tensorrt_works_builds_only_or_is_not_here(
    request: pytest.FixtureRequest, kind: str, changes: dict[str, Any], state: str, says: str
) -> None:
    """No command is suggested for a missing GPU."""
    module: FakeTensorRT = request.getfixturevalue(kind)
    vars(module.cuda).update(changes)

    found = find("TensorRT-RTX" if kind == "rtx" else "TensorRT")

    assert (found.state, found.remedy) == (state, "pip install 'u2net-deploy[gpu]'" if "support" in says else "")
    assert says in found.detail


@pytest.mark.parametrize(
    ("changes", "providers", "twins", "state", "remedy"),
    [
        ({}, BOTH, 1, "works", ""),
        ({"driver": 11080}, BOTH, 1, "works", ""),
        ({"driver": 0}, ["CPUExecutionProvider"], 1, "not here", ""),
        ({"devices": 0}, BOTH, 1, "not here", ""),
        ({}, ["CPUExecutionProvider"], 1, "not here", "pip uninstall -y onnxruntime && pip install"),
        ({}, BOTH, 2, "does not work", "pip uninstall -y onnxruntime onnxruntime-gpu && pip"),
        ({}, None, 1, "does not work", "pip uninstall -y onnxruntime && pip install"),
    ],
)
def test_onnx_runtime_for_cuda(
    monkeypatch: pytest.MonkeyPatch,
    cuda: FakeCudaRuntime,
    *,
    changes: dict[str, int],
    providers: list[str] | None,
    twins: int,
    state: str,
    remedy: str,
) -> None:
    """Damaged files of onnxruntime have no list of providers. The graph that is tried runs on the processor here."""
    runtime = SimpleNamespace(__version__="1", **({"get_available_providers": lambda: providers} if providers else {}))
    vars(cuda).update(changes)
    monkeypatch.setattr("importlib.import_module", lambda _name: runtime)
    monkeypatch.setattr(doctor, "installed_versions", lambda packages: dict.fromkeys(list(packages)[:twins], "1"))
    monkeypatch.setattr(doctor, "OnnxRuntimeBackend", lambda graph, _device: OnnxRuntimeBackend(graph, CPU))

    found = find("ONNX Runtime, CUDA")

    assert (found.state, found.remedy[: len(remedy)]) == (state, remedy)
    assert bool(found.remedy) == bool(remedy)


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.usefixtures("cuda")
def test_a_cuda_provider_that_cannot_run_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The onnxruntime here claims a provider that it does not have."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: BOTH)

    found = find("ONNX Runtime, CUDA")

    assert found.state == "does not work"
    assert "on cuda:0: " in found.detail and "u2net-deploy[gpu]" in found.remedy
