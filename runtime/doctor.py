"""What works on this machine, what does not, why, and the command that mends it. Imports nothing heavy."""

import ctypes
import importlib
from collections.abc import Callable
from dataclasses import dataclass

from u2net.runtime.errors import DependencyError, U2NetError
from u2net.runtime.packages import installed_versions
from u2net.runtime.trt.api import TensorRT
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.flavours import FLAVOURS, Flavour, FlavourFacts, import_flavour

TOOLS = {
    "export": ("torch", "onnx", "onnxscript", "onnxsim", "safetensors"),
    "train": ("lightning-fabric", "kornia", "pysodmetrics"),
}
"""Packages of the extras that make artifacts."""

NO_GPU = "none without a GPU: use --device cpu; with one, install the NVIDIA driver"

CPU_PACKAGE, GPU_PACKAGE = "onnxruntime", "onnxruntime-gpu"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    works: bool
    detail: str
    remedy: str = ""
    """Command that mends it; empty where nothing is broken."""


def examine() -> list[Finding]:
    """Look at every backend, then at the tools that make artifacts."""
    findings = [_onnxruntime_cpu(), _onnxruntime_cuda(), _shadowing()]
    findings += [_tensorrt(flavour, facts) for flavour, facts in FLAVOURS.items()]
    return findings + [_tools(extra, packages) for extra, packages in TOOLS.items()]


def count_cuda_devices() -> tuple[int, str]:
    """How many CUDA devices the driver sees, and why none where it is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0, "there is no NVIDIA driver (libcuda.so.1)"
    status = driver.cuInit(0)
    if status:
        return 0, f"the NVIDIA driver does not start (cuInit answers {status})"
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    return count.value, "" if count.value else "the NVIDIA driver sees no device"


def _onnxruntime_cpu() -> Finding:
    subject = "ONNX Runtime, CPU"
    providers, why = _providers()
    if providers is None:
        return Finding(subject, False, why, f"pip install '{_extra('cpu')}'")
    return Finding(subject, "CPUExecutionProvider" in providers, why)


def _onnxruntime_cuda() -> Finding:
    subject = "ONNX Runtime, CUDA"
    providers, why = _providers()
    devices, reason = count_cuda_devices()
    if not devices:
        return Finding(subject, False, reason, NO_GPU)
    if providers is None or "CUDAExecutionProvider" not in providers:
        detail = why if providers is None else f"{why} has no CUDA provider"
        return Finding(subject, False, detail, f"pip uninstall -y {CPU_PACKAGE} && pip install '{_extra('gpu')}'")
    return Finding(subject, True, f"{why}, {devices} device(s)")


def _providers() -> tuple[list[str] | None, str]:
    """Providers of the onnxruntime that is imported, and its version, or why there is none."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        return None, f"onnxruntime cannot be imported: {error}"
    get: Callable[[], list[str]] | None = getattr(runtime, "get_available_providers", None)
    if get is None:
        return None, "onnxruntime is damaged: an uninstalled twin took its files along"
    return get(), f"onnxruntime {runtime.__version__}"


def _shadowing() -> Finding:
    subject = "one ONNX Runtime"
    if len(installed_versions((CPU_PACKAGE, GPU_PACKAGE))) == 2:
        both = f"{CPU_PACKAGE} and {GPU_PACKAGE} are both installed and overwrite each other's files"
        remedy = f"pip uninstall -y {CPU_PACKAGE} {GPU_PACKAGE} && pip install '{_extra('gpu')}'"
        return Finding(subject, False, both, remedy)
    return Finding(subject, True, "no two packages overwrite each other")


def _tensorrt(flavour: Flavour, facts: FlavourFacts) -> Finding:
    try:
        trt = import_flavour(flavour)
    except DependencyError as error:
        return Finding(facts.title, False, str(error), f"pip install '{_extra(facts.extra)}'")
    version = f"{flavour} {trt.__version__}"
    if facts.builds_without_gpu:
        version += ", builds engines without a GPU too"
    try:
        cuda = open_cuda()
        gpus = [cuda.find_gpu(index) for index in range(cuda.require_driver())]
    except DependencyError as error:
        return Finding(facts.title, False, f"{version}; {error}", f"pip install '{_extra(facts.extra)}'")
    except U2NetError as error:
        return Finding(facts.title, False, f"{version}; runs none: {error}", NO_GPU)
    names = ", ".join(f"{gpu.name} (compute capability {gpu.compute_capability})" for gpu in gpus)
    strange = [gpu.name for gpu in gpus if not knows_gpu(trt, gpu.compute_capability)]
    if strange:
        remedy = f"pip install '{_extra('gpu')}', whose TensorRT takes them"
        return Finding(facts.title, False, f"{version}; does not list {', '.join(strange)} among its GPUs", remedy)
    return Finding(facts.title, True, f"{version}; {names}")


def knows_gpu(trt: TensorRT, compute_capability: str) -> bool:
    """Whether a TensorRT lists a compute capability such as ``8.6``; the full one, which has no list, takes all."""
    if not hasattr(trt, "ComputeCapability"):
        return True
    return f"SM{compute_capability.replace('.', '')}" in trt.ComputeCapability.__members__


def _tools(extra: str, packages: tuple[str, ...]) -> Finding:
    subject = f"extra [{extra}]"
    found = installed_versions(packages)
    missing = [package for package in packages if package not in found]
    if missing:
        return Finding(subject, False, f"missing: {', '.join(missing)}", f"pip install '{_extra(extra)}'")
    return Finding(subject, True, ", ".join(f"{package} {number}" for package, number in found.items()))


def _extra(name: str) -> str:
    return f"u2net-deploy[{name}]"
