"""Covers the rows of runtime/doctor.py and packages.py that depend on a GPU; test_cli_doctor.py covers the others."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.runtime.trt.fake_tensorrt import FakeTensorRT
from u2net.runtime import doctor
from u2net.runtime.doctor import Finding


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
    ("devices", "providers", "twins", "state", "remedy"),
    [
        (1, ["CUDAExecutionProvider", "CPUExecutionProvider"], 1, "works", ""),
        (0, ["CPUExecutionProvider"], 1, "not here", ""),
        (1, ["CPUExecutionProvider"], 1, "not here", "pip uninstall -y onnxruntime && pip install"),
        (1, ["CUDAExecutionProvider"], 2, "does not work", "pip uninstall -y onnxruntime onnxruntime-gpu && pip"),
        (1, None, 1, "does not work", "pip uninstall -y onnxruntime && pip install"),
    ],
)
def test_onnx_runtime_for_cuda(
    monkeypatch: pytest.MonkeyPatch, *, devices: int, providers: list[str] | None, twins: int, state: str, remedy: str
) -> None:
    """Damaged files of onnxruntime have no list of providers."""
    runtime = SimpleNamespace(__version__="1", **({"get_available_providers": lambda: providers} if providers else {}))
    monkeypatch.setattr(doctor, "count_cuda_devices", lambda: (devices, "there is no NVIDIA driver"))
    monkeypatch.setattr("importlib.import_module", lambda _name: runtime)
    monkeypatch.setattr(doctor, "installed_versions", lambda packages: dict.fromkeys(list(packages)[:twins], "1"))

    found = find("ONNX Runtime, CUDA")

    assert (found.state, found.remedy[: len(remedy)]) == (state, remedy)
    assert bool(found.remedy) == bool(remedy)
