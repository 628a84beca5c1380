import json
import platform
from dataclasses import asdict
from importlib.metadata import version

import pytest
import torch

from u2net.benchmarks.machine import INSTRUCTIONS, PACKAGES, describe_machine, describe_processor
from u2net.runtime.device import CPU, Device
from u2net.runtime.packages import installed_versions


def test_the_machine_that_runs_is_described() -> None:
    machine = describe_machine(CPU)

    assert machine.processor == machine.processor.strip() != ""
    assert (machine.python, machine.versions["torch"]) == (platform.python_version(), version("torch"))
    assert {"u2net-deploy", "onnx", "numpy"} <= set(machine.versions) <= set(PACKAGES)
    assert json.loads(json.dumps(asdict(machine))) == asdict(machine)


def test_a_package_that_is_not_installed_is_left_out() -> None:
    assert list(installed_versions(("numpy", "no-such-package-at-all"))) == ["numpy"]


@pytest.mark.parametrize(("device", "name"), [("cuda:1", "NVIDIA 1"), ("cpu", None)])
def test_the_gpu_in_use_is_named(monkeypatch: pytest.MonkeyPatch, device: str, name: str | None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA {device.index}")

    assert describe_machine(Device.parse(device)).gpu == name


@pytest.mark.parametrize(
    ("flags", "told"),
    [("fpu avx2 avx512f avx_vnni avx512_vnni", "AVX2, AVX-512, VNNI"), ("fpu sse", "unknown"), ("", "unknown")],
)
def test_instructions_and_the_backend_taken_are_told(monkeypatch: pytest.MonkeyPatch, flags: str, told: str) -> None:
    monkeypatch.setattr("u2net.benchmarks.machine._read_cpuinfo", lambda key: flags if key == "flags" else "")
    monkeypatch.setattr("u2net.benchmarks.machine.find_fastest", lambda _device: "openvino")

    assert describe_processor() == f"Instructions: {told}. Here `backend='auto'` takes `openvino`."


def test_the_instructions_of_this_processor_are_known() -> None:
    assert any(name in describe_processor() for name in INSTRUCTIONS.values())
