"""What this project uses of TensorRT, held against the bindings of every supported version."""

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
from packaging.requirements import Requirement

from tests.runtime.trt.type_inference import Bindings, World
from tests.runtime.trt.version_guards import Arguments, Report, check_code
from u2net.runtime.trt import api
from u2net.runtime.trt.api import TensorRT

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


@cache
def read_world() -> World:
    return World({version: read_bindings(version) for version in HERE})


@cache
def read_sources() -> dict[str, str]:
    """The modules that use TensorRT, wherever they are in the package."""
    folders = ("runtime", "export", "benchmarks", "cli")
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text() for name in folders for path in (ROOT / name).rglob("*.py")
    }
    users = {name: text for name, text in texts.items() if "runtime/trt/" in name or "u2net.runtime.trt" in text}
    return {name: text for name, text in users.items() if name != "runtime/trt/api.py"}


@cache
def check_project() -> Report:
    return check_code(read_sources(), read_world().bindings)


def compare(protocol: type, bindings: Bindings) -> list[str]:
    """What is declared and is not so: names, attributes that are methods or the reverse, arguments."""
    name, problems = protocol.__name__, list[str]()
    is_module = name == TensorRT.__name__
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
        and Arguments(len(leading), tuple(argument.name for argument in declared[len(leading) :])).fit(overload)
        and all(optional[argument.name] for argument in declared if argument.default is not argument.empty)
    )


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


def test_the_code_is_kept_from_what_a_version_lacks() -> None:
    problems = sorted(check_project().missing | check_project().unclear)

    assert not problems, "\n".join(problems)


def test_every_guard_tells_versions_apart() -> None:
    if len(HERE) <= len(WHEELS):
        pytest.skip("some versions have no bindings for this Python")

    idle = check_project().idle_guards(read_world())
    assert not idle, "\n".join(idle)


@pytest.mark.parametrize("version", HERE)
def test_each_declared_member_is_missed(version: str) -> None:
    bindings = read_bindings(version)
    for protocol in PROTOCOLS:
        owner = "" if protocol is TensorRT else protocol.__name__
        for name in [*inspect.get_annotations(protocol), *declared_methods(protocol)]:
            assert f"{protocol.__name__} has no {name!r}" in compare(protocol, without(bindings, {owner: [name]}))


@pytest.mark.parametrize("version", HERE)
def test_each_use_in_the_code_is_missed(version: str) -> None:
    """Take from a version all that the code uses and does not ask for: each must be reported."""
    world, report = read_world(), check_project()
    uses = [use for use, versions in report.uses.items() if version in versions & world.having(*use)]
    uses = [use for use in uses if use not in report.guards]
    lost: dict[str, list[str]] = {}
    for owner, name in uses:
        lost.setdefault(owner.name, []).append(name)
    # As it was, it is still there under another name: else what a lost method returned could not be told.
    changed = {**world.bindings, version: without(world.bindings[version], lost), "whole": world.bindings[version]}

    missing = check_code(read_sources(), changed).missing

    assert len(uses) > 40
    for owner, name in uses:
        assert any(f"{owner} has no {name!r} in " in line and version in line for line in missing), (owner, name)


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
    made_up = type(TensorRT.__name__, (), {"__annotations__": {"MadeUp": Any}})
    assert compare(made_up, bindings) == ["TensorRT has no 'MadeUp'"]


def version_bindings(**changes: Any) -> Bindings:
    """A made-up version of TensorRT."""
    take = {"parameters": [["flag", False], ["force", True]], "returns": "None"}
    made = {"parameters": [], "returns": "IBuilderConfig"}
    tuner = {"parameters": [], "returns": "ITuner"}
    old: dict[str, Any] = {
        "Flag": {"COMMON": None},
        "Builder": {"__init__": [{"parameters": [], "returns": "None"}], "config": [made]},
        "IBuilderConfig": {"level": None, "fixed": None, "set_flag": [take]},
        "ILogger": {"__init__": [], "log": [{"parameters": [["severity", False], ["msg", False]], "returns": "None"}]},
    }
    new = {**old, "Flag": {"COMMON": None, "NEW": None}, "ITuner": {"run": [made]}}
    new["IBuilderConfig"] = {**old["IBuilderConfig"], "tuner": [tuner]}
    classes = new if changes.get("new") else old
    return {"names": [*classes, "__version__"], "classes": classes, "writable": ["IBuilderConfig.level"]}


MADE_UP = {"1": version_bindings(), "2": version_bindings(new=True)}
GUARDED = """
from u2net.runtime.trt.api import IBuilderConfig, TensorRT

def is_new(trt: TensorRT) -> bool:
    return hasattr(trt.Flag, "NEW")

def use(trt: TensorRT, config: IBuilderConfig) -> None:
    config.set_flag(trt.Flag.COMMON, force=True)
    config.level = 3
    {line}

def other(trt: TensorRT, config: IBuilderConfig) -> None:
    if is_new(trt):
        _behind(trt, config)
    if not hasattr(config, "tuner"):
        return
    tuner = config.tuner()
    tuner.run().set_flag(trt.Flag.NEW)

def _behind(trt: TensorRT, config: IBuilderConfig) -> None:
    config.set_flag(trt.Flag.NEW)
"""


@pytest.mark.parametrize(
    "line",
    [
        "pass",
        "level = config.tuner() if hasattr(config, 'tuner') else 3",
        "hasattr(trt.Flag, 'NEW') and config.set_flag(trt.Flag.NEW)",
        "not is_new(trt) or config.set_flag(trt.Flag.NEW)",
        "flags = [getattr(trt.Flag, name) for name in ('NEW',) if hasattr(trt.Flag, name)]",
        "fresh = is_new(trt)\n    if fresh and config.level: trt.Flag.NEW",
        "getattr(trt.Flag, 'NEW', None)",
        "tuner = config.tuner() if is_new(trt) else None\n    if tuner is not None: tuner.run()",
        "while True:\n        if not is_new(trt): break\n        trt.Flag.NEW",
        "class Log(trt.ILogger):\n        def log(self, level: object, text: str) -> None: self.own()",
        "unknown = object()\n    unknown.tuner()",
        "builder = trt.Builder()\n    builder.config().level = 1",
        "mine: int = 3  # type: ignore[assignment]",
    ],
)
def test_what_is_guarded_passes(line: str) -> None:
    report = check_code({"a.py": GUARDED.replace("{line}", line)}, MADE_UP)

    assert (report.missing, report.unclear) == (set(), set())
    assert report.idle_guards(World(MADE_UP)) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("trt.Flag.MADE_UP", "Flag has no 'MADE_UP' in 1, 2"),
        ("trt.Flag.NEW", "Flag has no 'NEW' in 1"),
        ("flags = trt.Flag\n    flags.NEW", "Flag has no 'NEW' in 1"),
        ("getattr(trt.Flag, 'NEW')", "Flag has no 'NEW' in 1"),
        ("trt.MadeUp", "the module has no 'MadeUp' in 1, 2"),
        ("config.tuner()", "IBuilderConfig has no 'tuner' in 1"),
        ("trt.Builder().config().tuner()", "IBuilderConfig has no 'tuner' in 1"),
        ("if not hasattr(config, 'tuner'): config.tuner()", "IBuilderConfig has no 'tuner' in 1"),
        ("if config.level or is_new(trt): config.tuner()", "IBuilderConfig has no 'tuner' in 1"),
        ("if is_new(trt): config.tuner().made_up()", "ITuner has no 'made_up' in 2"),
        ("_behind(trt, config)", "Flag has no 'NEW' in 1"),
        ("config.fixed = 1", "IBuilderConfig.fixed cannot be assigned in 1, 2"),
        ("config.set_flag()", "IBuilderConfig.set_flag does not take () in 1, 2"),
        ("config.set_flag(1, 2, 3)", "IBuilderConfig.set_flag does not take (…, …, …) in 1, 2"),
        ("config.set_flag(1, made_up=2)", "IBuilderConfig.set_flag does not take (…, made_up=…) in 1, 2"),
        ("trt.Builder(3)", "Builder.__init__ does not take (…) in 1, 2"),
        (
            "class Log(trt.ILogger):\n        def log(self, text: str) -> None: ...",
            "ILogger.log does not take (…) in 1, 2",
        ),
    ],
)
def test_what_is_not_guarded_is_reported(line: str, problem: str) -> None:
    report = check_code({"a.py": GUARDED.replace("{line}", line)}, MADE_UP)

    assert [found.partition(": ")[2] for found in report.missing] == [problem]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("hasattr(trt.Flag, 'COMMON')", "Flag has 'COMMON' in every version: the guard is dead"),
        ("getattr(config, 'level', 3)", "IBuilderConfig has 'level' in every version: the guard is dead"),
        ("hasattr(config, 'tunre')", "IBuilderConfig has 'tunre' in no version: a slip of the pen?"),
    ],
)
def test_a_guard_that_tells_no_versions_apart_is_reported(line: str, problem: str) -> None:
    report = check_code({"a.py": GUARDED.replace("{line}", line)}, MADE_UP)

    assert report.idle_guards(World(MADE_UP)) == [f"a.py:10: {problem}"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("hasattr(config, input())", "write out the name that hasattr asks for"),
        ("hasattr(print, 'tuner')", "what is asked for 'tuner' cannot be told: annotate it"),
        (
            "print.made_up  # type: ignore[attr-defined]",
            "mypy is told not to look, and what this is cannot be told",
        ),
    ],
)
def test_what_cannot_be_judged_is_reported(line: str, problem: str) -> None:
    report = check_code({"a.py": GUARDED.replace("{line}", line)}, MADE_UP)

    assert report.unclear == {f"a.py:10: {problem}"}


def test_missing_bindings_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)

    with pytest.raises(pytest.fail.Exception, match=r"`make \.bindings/ready`"):
        read_bindings.__wrapped__(HERE[0])
