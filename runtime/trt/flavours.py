"""The two TensorRTs: the full one, built on the GPU it is for, and TensorRT-RTX, which ends compiling where it runs."""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from u2net.runtime.errors import DependencyError, InputError
from u2net.runtime.trt.api import TensorRT

Flavour = Literal["tensorrt", "tensorrt-rtx"]


@dataclass(frozen=True)
class FlavourFacts:
    """How a flavour is found, and what it can do."""

    title: str
    """For people."""
    modules: tuple[str, ...]
    """Names it is imported under, in order of preference."""
    extra: str
    """Of this project's extras, the one that brings it."""
    builds_without_gpu: bool


FLAVOURS: Mapping[Flavour, FlavourFacts] = {
    "tensorrt": FlavourFacts("TensorRT", ("tensorrt", "tensorrt_bindings"), "gpu", builds_without_gpu=False),
    "tensorrt-rtx": FlavourFacts(
        "TensorRT-RTX", ("tensorrt_rtx", "tensorrt_rtx_bindings"), "rtx", builds_without_gpu=True
    ),
}


def parse_flavour(name: str) -> Flavour:
    """Read a flavour's name.

    Raises:
        InputError: it is none.
    """
    if name not in get_args(Flavour):
        raise InputError(f"there is no flavour {name!r}; there are {' and '.join(FLAVOURS)}")
    return cast(Flavour, name)


def installed_flavours() -> list[Flavour]:
    """Flavours whose package is there, whether or not it can be imported."""
    return [flavour for flavour, facts in FLAVOURS.items() if _find_module(facts) is not None]


def choose_flavour(wanted: Flavour | None) -> Flavour:
    """The flavour asked for, else the one that is installed; of both, the full TensorRT.

    Raises:
        DependencyError: none is installed.
    """
    if wanted is not None:
        return wanted
    found = installed_flavours()
    if not found:
        raise DependencyError("TensorRT", "gpu]' (the full TensorRT) or 'u2net-deploy[rtx")
    return found[0]


def import_flavour(flavour: Flavour) -> TensorRT:
    """The flavour's module.

    Raises:
        DependencyError: it is not installed, or what it needs is not.
    """
    facts = FLAVOURS[flavour]
    name = _find_module(facts)
    if name is None:
        raise DependencyError(flavour, facts.extra)
    try:
        return cast(TensorRT, importlib.import_module(name))
    except (ImportError, OSError) as error:  # OSError: a shared library that it opens itself
        raise DependencyError(flavour, facts.extra, f"is installed but cannot be imported ({error})") from error


def _find_module(facts: FlavourFacts) -> str | None:
    return next((name for name in facts.modules if importlib.util.find_spec(name) is not None), None)
