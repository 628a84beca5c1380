"""Examine which backends and tools work on this machine, and what would help. Backends are imported, to try them."""

import base64
import importlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from u2net.runtime.device import CPU, CUDA, Device
from u2net.runtime.errors import DependencyError, DeviceError, DriverTooOldError, U2NetError
from u2net.runtime.onnxruntime_backend import PROVIDERS, OnnxRuntimeBackend
from u2net.runtime.openvino_backend import computes_in_bf16
from u2net.runtime.packages import installed_versions
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.flavours import FLAVOUR_EXTRAS, Flavour, import_flavour

TOOLS = {
    "export": (
        "torch",
        "onnx",
        "onnxscript",
        "onnxsim",
        "safetensors",
        "opencv-python-headless",
        "jinja2",
        "matplotlib",
        "pooch",
        "platformdirs",
    ),
    "train": ("lightning-fabric", "kornia", "pysodmetrics"),
}
"""Packages of the extras that make artifacts."""

TWINS = ("onnxruntime", "onnxruntime-gpu")
"""Packages with the same files: installed together, they overwrite each other."""


ONE_CONVOLUTION = base64.b64decode(
    "CAg6bQoQCgF4CgF3EgJkMCIEQ29udhIBZyobCAEIAwgBCAEQASIMAACAPwAAgD8AAIA/QgF3WhsKAXgSFgoUCAESEAoCCAEKAggDCgIIAQoC"
    "CAFiHAoCZDASFgoUCAESEAoCCAEKAggBCgIIAQoCCAFCBAoAEBE="
)
"""An ONNX file to try a provider with: ONNX Runtime lists providers even if libraries they need are missing."""


FindingState = Literal["works", "builds only", "not here", "does not work"]


@dataclass(frozen=True)
class Finding:
    """The result for one backend or extra."""

    subject: str
    state: FindingState
    detail: str
    remedy: str = ""
    """Command that would change the state; empty if none would."""


def examine() -> list[Finding]:
    """Examine every backend, then the extras that make artifacts."""
    cpu = _onnxruntime("ONNX Runtime, CPU", CPU, _install("cpu"))
    findings = [cpu, _onnxruntime_cuda(), _openvino(), *map(_tensorrt, FLAVOUR_EXTRAS)]
    return findings + [_tools(extra, packages) for extra, packages in TOOLS.items()]


def _onnxruntime_cuda() -> Finding:
    subject = "ONNX Runtime, CUDA"
    try:
        open_cuda().require_driver()
    except (DependencyError, DriverTooOldError):  # ONNX Runtime needs no cuda-bindings, and may be for an older CUDA
        pass
    except DeviceError as error:
        return Finding(subject, "not here", f"needs an NVIDIA GPU: {error}")
    return _onnxruntime(subject, CUDA, f"pip uninstall -y {TWINS[0]} && {_install('gpu')}")


def _onnxruntime(subject: str, device: Device, remedy: str) -> Finding:
    try:
        runtime: Any = importlib.import_module("onnxruntime")
        providers = runtime.get_available_providers()
    except ImportError as error:
        return Finding(subject, "not here", f"onnxruntime cannot be imported: {error}", remedy)
    except AttributeError:
        detail = "onnxruntime is damaged: uninstalling its twin removed files of both"
        return Finding(subject, "does not work", detail, remedy)
    if len(installed_versions(TWINS)) == len(TWINS):
        both = f"{' and '.join(TWINS)} are both installed and overwrite each other's files"
        return Finding(subject, "does not work", both, f"pip uninstall -y {' '.join(TWINS)} && {_install('gpu')}")
    if PROVIDERS[device.kind] not in providers:
        detail = f"onnxruntime {runtime.__version__} has no {PROVIDERS[device.kind]}"
        return Finding(subject, "not here", detail, remedy)
    try:
        backend = OnnxRuntimeBackend(ONE_CONVOLUTION, device)
        backend.run(np.zeros((1, 3, 1, 1), np.float32), backend.outputs)
    except U2NetError as error:
        return Finding(subject, "does not work", str(error), remedy)
    return Finding(subject, "works", f"onnxruntime {runtime.__version__}")


def _openvino() -> Finding:
    try:
        kinds = "FP32 and BF16" if computes_in_bf16() else "FP32"
    except ImportError as error:
        return Finding("OpenVINO", "not here", f"openvino cannot be imported: {error}", _install("openvino"))
    except RuntimeError as error:
        return Finding("OpenVINO", "does not work", str(error), _install("openvino"))
    version = importlib.import_module("openvino").__version__
    return Finding("OpenVINO", "works", f"openvino {version.partition('-')[0]}, in {kinds}")


def _tensorrt(flavour: Flavour) -> Finding:
    builds = flavour == "tensorrt-rtx"
    title, install = "TensorRT-RTX" if builds else "TensorRT", _install(FLAVOUR_EXTRAS[flavour])
    try:
        library = import_flavour(flavour)
    except DependencyError as error:
        return Finding(title, "not here", str(error).partition(";")[0], install)
    state: FindingState = "builds only" if builds else "not here"
    problem = f"{library} " + ("builds engines here, but cannot run them" if builds else "is installed, but unusable")
    try:
        cuda = open_cuda()
        gpus = [cuda.find_gpu(index) for index in range(cuda.require_driver())]
    except U2NetError as error:
        return Finding(title, state, f"{problem}: {error}", install if isinstance(error, DependencyError) else "")
    trt: Any = library.trt  # the full TensorRT has no list of GPUs and takes all
    known = trt.ComputeCapability.__members__ if library.features.compute_capabilities else None
    strange = [
        gpu.name for gpu in gpus if known is not None and f"SM{gpu.compute_capability.replace('.', '')}" not in known
    ]
    if strange:
        return Finding(title, state, f"{problem}: it does not support {', '.join(strange)}", _install("gpu"))
    names = ", ".join(f"{gpu.name} (compute capability {gpu.compute_capability})" for gpu in gpus)
    return Finding(title, "works", f"{library}; {names}")


def _tools(extra: str, packages: tuple[str, ...]) -> Finding:
    found = installed_versions(packages)
    if missing := ", ".join(package for package in packages if package not in found):
        return Finding(f"extra [{extra}]", "not here", f"missing: {missing}", _install(extra))
    return Finding(f"extra [{extra}]", "works", ", ".join(f"{name} {version}" for name, version in found.items()))


def _install(extra: str) -> str:
    return f"pip install 'u2net-deploy[{extra}]'"
