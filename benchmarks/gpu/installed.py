"""What a worker's Python has."""

import platform
from typing import Any

from u2net.benchmarks.machine import PACKAGES
from u2net.runtime.errors import DependencyError
from u2net.runtime.packages import installed_versions
from u2net.runtime.trt.flavours import import_flavour, installed_flavours

GPU_PACKAGES = (
    *PACKAGES,
    "triton",
    "cuda-bindings",
    "tensorrt",
    "tensorrt-bindings",
    "tensorrt-cu12-bindings",
    "tensorrt-cu13-bindings",
    "tensorrt-rtx-cu13-bindings",
)


def describe_python() -> dict[str, Any]:
    """Versions of Python and packages, and each flavour of TensorRT with its version or why it cannot be imported."""
    flavours: dict[str, str] = {}
    broken: dict[str, str] = {}
    for flavour in installed_flavours():
        try:
            flavours[flavour] = import_flavour(flavour).trt.__version__
        except DependencyError as error:
            broken[flavour] = str(error)
    return {
        "python": platform.python_version(),
        "versions": installed_versions(GPU_PACKAGES),
        "flavours": flavours,
        "broken": broken,
    }
