"""What this project uses of TensorRT, held against the bindings of every supported version."""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
from packaging.requirements import Requirement

from u2net.runtime.trt import api
from u2net.runtime.trt import features as features_module
from u2net.runtime.trt.api import TensorRTModule
from u2net.runtime.trt.features import Features

Bindings = dict[str, Any]
"""Contents of the bindings of a version, as ``tensorrt_bindings.py dump`` prints them."""

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests/environments/tensorrt_bindings.py"
WHEELS = {
    str(wheel.specifier).removeprefix("=="): wheel
    for wheel in map(Requirement, SCRIPT.with_suffix(".txt").read_text().splitlines())
}
RTX = "tensorrt-rtx"
HERE = [version for version, wheel in WHEELS.items() if wheel.marker is None or wheel.marker.evaluate()] + [RTX]
"""The versions that have bindings for this Python: all six on 3.11."""
PROTOCOLS = [
    found for found in vars(api).values() if getattr(found, "_is_protocol", False) and found.__module__ == api.__name__
]


@cache
def read_bindings(version: str) -> Bindings:
    """What a version's bindings hold; each is imported in a process of its own."""
    command = [sys.executable, str(SCRIPT), "dump"]
    if version != RTX:
        folder = ROOT / ".bindings" / version
        if not folder.is_dir() or not (ROOT / ".bindings/ready").is_file():
            pytest.fail(f"the bindings of TensorRT {version} are not there: `make .bindings/ready`", pytrace=False)
        # -S: no TensorRT that is installed beside them gets in.
        command = [sys.executable, "-S", str(SCRIPT), "dump", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        pytest.fail(f"the bindings of {version} cannot be read: {done.stderr}", pytrace=False)
    found: Bindings = json.loads(done.stdout)
    return found


def compare(protocol: type, bindings: Bindings) -> list[str]:
    """What is declared and is not so: names, attributes that are methods or the reverse, arguments."""
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
        elif not any(_takes(overload, function) for overload in overloads or ()):
            found = [", ".join(parameter for parameter, _ in overload["parameters"]) for overload in overloads or ()]
            problems.append(f"{name}.{declared} does not take {inspect.signature(function)}; it takes {found}")
    return problems


def declared_methods(protocol: type) -> dict[str, Callable[..., Any]]:
    """Methods by name, without those that ``typing`` adds."""
    own = ((name, value) for name, value in vars(protocol).items() if inspect.isfunction(value))
    return {name: value for name, value in own if value.__module__ == protocol.__module__}


def _takes(overload: Bindings, function: Callable[..., Any]) -> bool:
    """Whether the declared arguments are an overload's first ones, and all that it needs."""
    declared = list(inspect.signature(function).parameters.values())[1:]
    names = [parameter for parameter, _ in overload["parameters"]]
    optional = dict(overload["parameters"])
    leading = [argument.name for argument in declared if argument.kind is not argument.KEYWORD_ONLY]
    return (
        names[: len(leading)] == leading
        and _fits(overload["parameters"], [argument.name for argument in declared])
        and all(optional[argument.name] for argument in declared if argument.default is not argument.empty)
    )


def _fits(parameters: Sequence[tuple[str, bool]], given: Sequence[str]) -> bool:
    """True if the parameters include all that are given, and the others have defaults."""
    names = {name for name, _ in parameters}
    return set(given) <= names and all(optional or name in given for name, optional in parameters)


def without(bindings: Bindings, lost: Mapping[str, list[str]]) -> Bindings:
    """The bindings of a version that lost members of classes; of the module, under the name ''."""
    classes = dict(bindings["classes"])
    for owner in lost.keys() - {""}:
        classes[owner] = {name: value for name, value in classes[owner].items() if name not in lost[owner]}
    names = [name for name in bindings["names"] if name not in lost.get("", [])]
    return {**bindings, "names": names, "classes": classes}


@pytest.mark.parametrize("version", [*WHEELS, RTX])
def test_all_that_is_declared_exists(version: str) -> None:
    if version not in HERE:
        pytest.skip(f"TensorRT {version} has no bindings for this Python")
    bindings = read_bindings(version)

    problems = [problem for protocol in PROTOCOLS for problem in compare(protocol, bindings)]
    assert version in (RTX, bindings["version"])
    assert not problems, "\n".join(problems)


FEATURES = {
    "strong_typing": ("10", "11", RTX),
    "explicit_batch": ("8", "10"),
    "fp16_flag": ("8", "10"),
    "profile_sharing": ("8", "10"),
    "progress_monitor": ("10", "11", RTX),
    "parser_nodes": ("10", "11", RTX),
    "compute_capabilities": (RTX,),
    "runtime_config": (RTX,),
    "engine_validity": (RTX,),
}
"""Major versions that have each feature."""


def module_of(bindings: Bindings) -> SimpleNamespace:
    """A module with the classes of these bindings and their members."""
    classes = bindings["classes"]
    return SimpleNamespace(**{name: SimpleNamespace(**classes[name]) for name in classes if "." not in name})


@pytest.mark.parametrize("version", HERE)
def test_features_are_those_of_the_version(version: str) -> None:
    found = asdict(Features.of(module_of(read_bindings(version))))

    assert found == {name: version.partition(".")[0] in majors for name, majors in FEATURES.items()}


def test_only_features_ask_for_attributes_of_tensorrt() -> None:
    """What a version may lack is named in one file; the rest of the code uses it only behind a feature."""
    asking = {
        f"{path.name}: {line.strip()}"
        for path in sources()
        for line in path.read_text().splitlines()
        if re.search(r"\b(has|get)attr\(", line) and path.name not in ("features.py", "cuda.py", "arrays.py")
    }

    assert asking == set()


def test_all_names_in_the_code_are_in_every_version_or_in_a_feature() -> None:
    used = {
        name
        for path in sources()
        for name in re.findall(r"(?<!runtime\.)\b(?:trt|strategies|flags)\.(\w+(?:\.\w+)?)", path.read_text())
    }
    features = set(re.findall(r'"(\w+)"', Path(features_module.__file__).read_text()))
    common = set.intersection(*({*read_bindings(version)["names"]} for version in HERE))
    members = set.intersection(*(all_members(read_bindings(version)) for version in HERE))

    unknown = [name for name in used if not set(name.split(".")) <= common | members | features]

    assert len(used) > 15
    assert unknown == []


def all_members(bindings: Bindings) -> set[str]:
    """Names of the members of all classes."""
    return {member for members in bindings["classes"].values() for member in members}


def sources() -> list[Path]:
    return sorted((ROOT / "runtime/trt").rglob("*.py"))


@pytest.mark.parametrize("version", HERE)
def test_each_declared_member_is_missed(version: str) -> None:
    bindings = read_bindings(version)
    for protocol in PROTOCOLS:
        owner = "" if protocol is TensorRTModule else protocol.__name__
        for name in [*inspect.get_annotations(protocol), *declared_methods(protocol)]:
            assert f"{protocol.__name__} has no {name!r}" in compare(protocol, without(bindings, {owner: [name]}))


class Builder(Protocol):
    """Made up, under the name of a real one."""

    max_threads: int
    made_up_attribute: int
    build_serialized_network: int

    def create_network(self, flags: int, made_up: int) -> Any: ...
    def create_builder_config(self, *, made_up: int) -> Any: ...
    def is_network_supported(self, config: Any, network: Any) -> bool: ...
    def made_up_method(self) -> None: ...


class OnnxParser(Protocol):
    """Its method has two arguments, one of which has a default; ``supports_operator`` needs the one left out here."""

    def parse(self, model: bytes) -> bool: ...
    def supports_operator(self) -> bool: ...


class MadeUp(Protocol):
    """Nothing of that name is in TensorRT."""


@pytest.mark.parametrize("version", HERE)
def test_what_is_declared_wrongly_is_reported(version: str) -> None:
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
    assert compare(made_up, bindings) == ["TensorRTModule has no 'MadeUp'"]


def test_missing_bindings_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)

    with pytest.raises(pytest.fail.Exception, match=r"`make \.bindings/ready`"):
        read_bindings.__wrapped__(HERE[0])
