"""The two flavours of TensorRT.

The full TensorRT builds an engine on the GPU that runs it. TensorRT-RTX builds without a GPU and finishes compiling
where the engine runs.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from u2net.runtime.errors import DependencyError, InputError
from u2net.runtime.trt.api import TensorRTModule
from u2net.runtime.trt.features import Features

Flavour = Literal["tensorrt", "tensorrt-rtx"]

FLAVOUR_EXTRAS: Mapping[Flavour, str] = {"tensorrt": "gpu", "tensorrt-rtx": "rtx"}
"""This project's extra that installs each flavour."""


@dataclass(frozen=True)
class TensorRTLibrary:
    flavour: Flavour
    trt: TensorRTModule
    features: Features

    def __str__(self) -> str:
        return f"{self.flavour} {self.trt.__version__}"


def parse_flavour(name: str) -> Flavour:
    """Read the name of a flavour. Raise InputError if there is no such flavour."""
    if name not in FLAVOUR_EXTRAS:
        raise InputError(f"there is no flavour {name!r}; there are {' and '.join(FLAVOUR_EXTRAS)}")
    return cast(Flavour, name)


def installed_flavours() -> list[Flavour]:
    """Flavours whose package is installed, whether or not it can be imported."""
    return [flavour for flavour in FLAVOUR_EXTRAS if _find_module(flavour) is not None]


def choose_flavour(wanted: Flavour | None) -> Flavour:
    """Return the wanted flavour, or else the installed one: the full TensorRT if both are installed."""
    found = installed_flavours() if wanted is None else [wanted]
    if not found:
        raise DependencyError("TensorRT", *FLAVOUR_EXTRAS.values())
    return found[0]


def import_flavour(flavour: Flavour) -> TensorRTLibrary:
    """Import a flavour. Raise DependencyError if it is not installed or cannot be imported."""
    name, extra = _find_module(flavour), FLAVOUR_EXTRAS[flavour]
    if name is None:
        raise DependencyError(flavour, extra)
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: the package opens a shared library that is missing
        raise DependencyError(flavour, extra, found=f"is installed but cannot be imported ({error})") from error
    return TensorRTLibrary(flavour, cast(TensorRTModule, module), Features.of(module))


def _find_module(flavour: Flavour) -> str | None:
    module = flavour.replace("-", "_")
    return next((name for name in (module, f"{module}_bindings") if importlib.util.find_spec(name) is not None), None)
