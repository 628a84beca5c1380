"""What there is to measure on and with: the GPU, and the TensorRTs of each Python."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from u2net.benchmarks.gpu.contestants import TensorRT
from u2net.benchmarks.gpu.hosts import Hosts
from u2net.benchmarks.gpu.protocol import Hello
from u2net.runtime.device import Device
from u2net.runtime.errors import DeviceError

HELLO_SECONDS = 120.0
SMI_QUERY = "driver_version,clocks.max.sm,power.limit,memory.total"


def ask_pythons(pythons: Mapping[str, str], work: Path) -> tuple[dict[str, dict[str, Any]], list[TensorRT]]:
    """What each Python has, by its name in the report, and every TensorRT among it."""
    facts: dict[str, dict[str, Any]] = {}
    found: dict[str, TensorRT] = {}
    with Hosts(pythons, work) as hosts:
        for where, python in pythons.items():
            answer = hosts.ask(where, Hello(), HELLO_SECONDS)
            facts[where] = answer.value or {"error": answer.error}
            for flavour, version in answer.value.get("flavours", {}).items():
                each = TensorRT(flavour, version, python)
                found[each.slug] = each
    return facts, list(found.values())


def gpu_name(device: Device) -> str | None:
    """Name of a GPU; None for a processor.

    Raises:
        DeviceError: there is no such GPU, and so nothing to check.
    """
    if device.kind == "cpu":
        return None
    import torch

    if not torch.cuda.is_available() or device.index >= torch.cuda.device_count():
        raise DeviceError(
            f"{device} was asked for, but this PyTorch ({torch.__version__}) sees {torch.cuda.device_count()} CUDA "
            "devices; --device cpu makes a dry run"
        )
    return torch.cuda.get_device_name(device.index)


def describe_driver(device: Device) -> str:
    """Driver, clock, power and memory as nvidia-smi tells them; empty where it does not."""
    command = ["nvidia-smi", f"--query-gpu={SMI_QUERY}", "--format=csv,noheader", f"--id={device.index}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"driver, largest clock, power limit, memory: {done.stdout.strip()}"


def slug(gpu: str | None) -> str:
    """A GPU's name as part of a file's; None is a processor."""
    if gpu is None:
        return "dry-run-cpu"
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower().replace("nvidia", "")).strip("-") or "gpu"
