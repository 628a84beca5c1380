"""What a benchmark ran on: processor, threads, versions."""

import platform
from dataclasses import dataclass
from pathlib import Path

from u2net.runtime.cores import usable_cores
from u2net.runtime.device import CPU, Device
from u2net.runtime.loading import find_fastest
from u2net.runtime.packages import installed_versions

PACKAGES = ("u2net-deploy", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "onnxsim", "numpy", "pillow")

INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "VNNI",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "BF16",
    "amx_tile": "AMX",
}
"""Names of instruction sets by Linux's flags."""


@dataclass(frozen=True)
class Machine:
    """The machine that figures come from."""

    processor: str
    cores: int
    """Processor cores that this process may use."""
    system: str
    python: str
    gpu: str | None
    """The GPU in use; None on a processor."""
    versions: dict[str, str]


def describe_machine(device: Device) -> Machine:
    """Describe this machine and a device of it. Raise DeviceError if the device is not there."""
    import torch

    from u2net.model.placing import torch_device

    return Machine(
        processor=_read_cpuinfo("model name") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        gpu=torch.cuda.get_device_name(torch_device(device)) if device.kind == "cuda" else None,
        versions=installed_versions(PACKAGES),
    )


def describe_processor() -> str:
    """Say which instruction sets this processor has, if the system reports them, and what ``backend="auto"`` picks."""
    flags = _read_cpuinfo("flags").split()
    found = dict.fromkeys(name for flag, name in INSTRUCTIONS.items() if flag in flags)
    return f"Instructions: {', '.join(found) or 'unknown'}. Here `backend='auto'` takes `{find_fastest(CPU)}`."


def _read_cpuinfo(key: str) -> str:
    """Return what Linux says of the first core; empty on other systems."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
