"""Covers api.py and features.py: what the code uses of TensorRT, compared with the bindings of every version.

Also checks that no other file asks what a version has, and that building and running do not import each other.
"""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
from packaging.requirements import Requirement

from u2net.runtime.trt import api
from u2net.runtime.trt.api import TensorRTModule
from u2net.runtime.trt.features import Features

Bindings = Mapping[str, Any]
ROOT = Path(__file__).parents[3]
TRT = ROOT / "runtime/trt"
SCRIPT = ROOT / "tests/environments/tensorrt_bindings.py"
WHEELS = {
    str(wheel.specifier).removeprefix("=="): wheel
    for wheel in map(Requirement, SCRIPT.with_suffix(".txt").read_text().splitlines())
}
RTX = "tensorrt-rtx"
HERE = [version for version, wheel in WHEELS.items() if wheel.marker is None or wheel.marker.evaluate()] + [RTX]
"""Versions that have bindings for this Python: all six on 3.11."""
PROTOCOLS = [
    found for found in vars(api).values() if getattr(found, "_is_protocol", False) and found.__module__ == api.__name__
]
OLD = {"explicit_batch", "fp16_flag", "int8_flag", "profile_sharing"}
NEW = {"strong_typing", "progress_monitor", "parser_nodes"}
FEATURES = {
    "8.6.1": OLD,
    "10.0.1": OLD | NEW,
    "10.16.1.11": OLD | NEW,
    "11.0.0.114": NEW,
    "11.4.0.106": NEW,
    RTX: NEW | {"compute_capabilities", "runtime_config", "engine_validity"},
}


@cache
def read_bindings(version: str) -> Bindings:
    """Names in the bindings of a version. Each version is imported in a process of its own."""
    command = [sys.executable, str(SCRIPT), "dump"]
    if version != RTX:
        folder = ROOT / ".bindings" / version
        if not folder.is_dir() or not (ROOT / ".bindings/ready").is_file():
            pytest.fail(f"the bindings of TensorRT {version} are not there: `make .bindings/ready`", pytrace=False)
        # -S hides a TensorRT that is installed in this environment.
        command = [sys.executable, "-S", str(SCRIPT), "dump", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        pytest.fail(f"the bindings of {version} cannot be read: {done.stderr}", pytrace=False)
    found: Bindings = json.loads(done.stdout)
    return found


def compare(protocol: type, bindings: Bindings) -> list[str]:
    """Differences of a declared protocol: missing names, attributes that are methods or the reverse, arguments."""
    name, problems = protocol.__name__, list[str]()
    is_module = name == TensorRTModule.__name__
    members = dict.fromkeys(bindings["names"]) if is_module else bindings["classes"].get(name)
    if members is None:
        return [f"there is no class {name}"]
    for declared in inspect.get_annotations(protocol):
        if declared not in members:
            problems.append(f"{name} has no {declared!r}")
        elif members[declared] is not None:
            problems.append(f"{name}.{declared} is a method")
    for declared, function in declared_methods(protocol).items():
        made = bindings["classes"].get(declared, {}).get("__init__")
        overloads = made if is_module else members.get(declared)
        if declared not in members:
            problems.append(f"{name} has no {declared!r}")
        elif declared.startswith("__"):
            continue  # Python's own protocols have no signature to compare
        elif not any(_takes(overload["parameters"], function) for overload in overloads or ()):
            found = [", ".join(parameter for parameter, _ in overload["parameters"]) for overload in overloads or ()]
            problems.append(f"{name}.{declared} does not take {inspect.signature(function)}; it takes {found}")
    return problems


def declared_methods(protocol: type) -> dict[str, Callable[..., Any]]:
    """Methods by name, without those that ``typing`` and Python add."""
    own = ((name, value) for name, value in vars(protocol).items() if inspect.isfunction(value))
    return {
        name: value for name, value in own if value.__module__ == protocol.__module__ and name != "__annotate_func__"
    }


def _takes(parameters: list[tuple[str, bool]], function: Callable[..., Any]) -> bool:
    """True if the declared arguments are the first parameters of an overload and include every required one."""
    declared = list(inspect.signature(function).parameters.values())[1:]
    leading = [argument.name for argument in declared if argument.kind is not argument.KEYWORD_ONLY]
    names = {argument.name for argument in declared}
    return [name for name, _ in parameters[: len(leading)]] == leading and (
        {name for name, has_default in parameters if not has_default} <= names <= {name for name, _ in parameters}
    )


@pytest.mark.parametrize("version", [*WHEELS, RTX])
def test_everything_declared_exists(version: str) -> None:
    if version not in HERE:
        pytest.skip(f"TensorRT {version} has no bindings for this Python")
    bindings = read_bindings(version)

    problems = [problem for protocol in PROTOCOLS for problem in compare(protocol, bindings)]
    assert version in (RTX, bindings["version"])
    assert not problems, "\n".join(problems)


class Builder(Protocol):
    """Made up, under the name of a real class."""

    max_threads: int
    made_up_attribute: int
    build_serialized_network: int

    def create_network(self, flags: int, made_up: int) -> Any: ...
    def create_builder_config(self, *, made_up: int) -> Any: ...
    def is_network_supported(self, config: Any, network: Any) -> bool: ...
    def made_up_method(self) -> None: ...


class OnnxParser(Protocol):
    """``parse`` may leave out its second argument, which has a default; ``supports_operator`` lacks a required one."""

    def parse(self, model: bytes) -> bool: ...
    def supports_operator(self) -> bool: ...


class MadeUp(Protocol):
    """TensorRT has no class of this name."""


@pytest.mark.parametrize("version", HERE)
def test_wrong_declarations_are_reported(version: str) -> None:
    bindings = read_bindings(version)

    problems = compare(Builder, bindings)
    assert [problem.split(";")[0] for problem in problems] == [
        "Builder has no 'made_up_attribute'",
        "Builder.build_serialized_network is a method",
        "Builder.create_network does not take (self, flags: int, made_up: int) -> Any",
        "Builder.create_builder_config does not take (self, *, made_up: int) -> Any",
        "Builder.is_network_supported does not take (self, config: Any, network: Any) -> bool",
        "Builder has no 'made_up_method'",
    ]
    assert [problem.split(";")[0] for problem in compare(OnnxParser, bindings)] == [
        "OnnxParser.supports_operator does not take (self) -> bool"
    ]
    assert compare(MadeUp, bindings) == ["there is no class MadeUp"]
    made_up = type(TensorRTModule.__name__, (), {"__annotations__": {"MadeUp": Any}})
    assert compare(made_up, bindings) == [f"{TensorRTModule.__name__} has no 'MadeUp'"]


@pytest.mark.parametrize("version", HERE)
def test_features_are_those_of_the_version(version: str) -> None:
    classes = read_bindings(version)["classes"].items()
    module = SimpleNamespace(**{name: SimpleNamespace(**dict.fromkeys(members)) for name, members in classes})

    assert {name for name, there in asdict(Features.of(module)).items() if there} == FEATURES[version]


def sources(folder: Path = TRT) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}


@pytest.mark.parametrize("version", HERE)
def test_names_outside_the_declared_api_exist_or_are_features(version: str) -> None:
    """Enum members and base classes are not typed, so mypy does not check them."""
    features = sources()["features.py"]
    used = {pair for text in sources().values() for pair in re.findall(r"\btrt\.([A-Z]\w+)\.(\w+)", text)}
    classes = read_bindings(version)["classes"]

    assert {("BuilderFlag", "TF32"), ("ProfilingVerbosity", "DETAILED"), ("TensorIOMode", "INPUT")} <= used
    assert not [pair for pair in used if pair[1] not in classes.get(pair[0], {}) and f'"{pair[1]}"' not in features]


def test_only_features_asks_what_a_version_has() -> None:
    asking = {name for name, text in sources().items() if re.search(r"\b(hasattr|getattr)\b", text)}
    own = {"arrays.py", "cuda.py"}  # they ask callers' arrays and CUDA, never TensorRT

    assert asking == {"features.py", *own}
    assert not [name for name in own if re.search(r"trt\.(api|flavours)\b", sources()[name])]
    for folder in ("runtime", "export", "benchmarks", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if "u2net.runtime.trt.flavours" in text:
                assert path.is_relative_to(TRT) or not re.search(r"\b(hasattr|getattr)\b", text), path


@pytest.mark.parametrize(("wing", "other"), [("building", "running"), ("running", "building"), (".", "building")])
def test_building_and_running_do_not_import_each_other(wing: str, other: str) -> None:
    """The modules that both share import neither, so there is no indirect import."""
    paths = [path for path in (TRT / wing).glob("*.py") if path.name != "compiling.py"]
    forbidden = (other, "compiling", *(("running",) if wing == "." else ()))

    assert len(paths) > 4
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert not [name for name in forbidden if f"u2net.runtime.trt.{name}" in text]
