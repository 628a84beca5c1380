"""Run a module with this source tree as the package ``u2net``, installed or not: ``tree.py MODULE [ARGUMENT…]``.

Packaging maps the folders at the root onto ``u2net``; without an installation nothing does. This script does the same
and then what ``python -m MODULE`` does. It is run by its path, with ``-P``, and needs the standard library alone.
"""

import runpy
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BARE = {"u2net": ROOT, "u2net.benchmarks": ROOT / "benchmarks"}
"""Packages whose ``__init__`` is not run: that of the second imports torch, which a worker's Python may lack."""


def register(name: str, folder: Path) -> None:
    """Make a folder importable under that name, without running its ``__init__``."""
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[name] = module = module_from_spec(spec)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def run_module(module: str, arguments: list[str]) -> None:
    """Run a module as a program."""
    for name, folder in BARE.items():
        register(name, folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_module(sys.argv[1], sys.argv[2:])
