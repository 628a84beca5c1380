"""TensorRT's Python bindings without TensorRT: makes stubs for the libraries they need, and lists what they contain.

``tensorrt_bindings.py stub FOLDER...`` writes the stubs into folders that a wheel of bindings was unpacked in, and
``tensorrt_bindings.py dump [FOLDER]`` prints one as JSON; without a folder, the TensorRT-RTX that is installed.
"""

import ctypes
import inspect
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

STUBS = "stubs"
"""Folder of the stubs, beside the module."""


def make_stubs(folder: Path) -> None:
    """Write a stub of every NVIDIA library that the bindings name; its functions, all that they need, do nothing."""
    bindings = next((folder / "tensorrt_bindings").glob("tensorrt*.so"))
    libraries = re.findall(r"\(NEEDED\).*\[(libnv\S+)\]", _run("readelf", "-d", str(bindings)))
    undefined = re.findall(r"^ *U (\w+)$", _run("nm", "-D", "--undefined-only", str(bindings)), re.MULTILINE)
    process = ctypes.CDLL(None)
    missing = [symbol for symbol in undefined if not hasattr(process, symbol)]
    target = folder / STUBS
    target.mkdir(exist_ok=True)
    source = target / "stubs.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in missing))
    for name in libraries:
        _run("cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(target / name), str(source))


def import_over_stubs(folder: Path) -> ModuleType:
    """Import the bindings; the loader uses a stub that is already open instead of searching for the library."""
    for library in (folder / STUBS).glob("*.so*"):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(folder))
    return import_module("tensorrt_bindings")


def describe_module(module: ModuleType) -> dict[str, Any]:
    """Version, names, the members of each class (nested ones under dotted names), and those that can be assigned.

    A function is described by its overloads: names of parameters, whether each has a default, and the class returned.
    Any other member is described by None. Members of enums count as members.
    """
    classes: dict[str, Any] = {}
    writable: list[str] = []

    def visit(name: str, described: type) -> None:
        members: dict[str, Any] = {}
        for member in dir(described):
            value = inspect.getattr_static(described, member)
            if isinstance(value, property) and value.fset is not None:
                writable.append(f"{name}.{member}")
            if isinstance(value, type) and value.__module__.startswith(module.__name__):
                visit(f"{name}.{member}", value)
            is_function = callable(value) and not isinstance(value, type)
            members[member] = parse_signatures(value.__doc__ or "", member) if is_function else None
        if gives_bytes(described):
            members["__buffer__"] = None
        classes[name] = members

    for name, value in vars(module).items():
        if isinstance(value, type):
            visit(name, value)
    return {"version": module.__version__, "names": dir(module), "classes": classes, "writable": writable}


def gives_bytes(described: type) -> bool:
    """Whether ``bytes`` and ``memoryview`` accept objects of the class; before Python 3.12 only C can tell."""
    try:
        empty: object = described.__new__(described)  # type: ignore[call-overload]
    except TypeError:
        return False
    return bool(ctypes.pythonapi.PyObject_CheckBuffer(ctypes.py_object(empty)))


def parse_signatures(text: str, name: str) -> list[dict[str, Any]]:
    """The overloads that pybind11 writes into a docstring, without ``self``."""
    return [
        {
            "parameters": [
                _parameter(part) for part in _split(arguments) if part != "/" and not part.startswith("self:")
            ],
            "returns": re.sub(r"^tensorrt\w*\.tensorrt\w*\.|^.*::", "", returned),
        }
        for arguments, returned in re.findall(rf"^(?:\d+\. )?{name}\((.*)\) -> (.+)$", text, re.MULTILINE)
    ]


def _parameter(text: str) -> tuple[str, bool]:
    return text.partition(":")[0], " = " in text


def _split(arguments: str) -> list[str]:
    """Split at commas outside brackets."""
    depth, parts = 0, [""]
    for character in arguments:
        depth += (character in "([{<") - (character in ")]}>")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    action, *folders = sys.argv[1:]
    if action == "stub":
        for folder in folders:
            make_stubs(Path(folder))
    else:
        found = import_over_stubs(Path(folders[0])) if folders else import_module("tensorrt_rtx_bindings")
        print(json.dumps(describe_module(found)))
