"""Everything that a GPU check found, and its files: JSON for programs, a page for people."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from u2net.benchmarks.gpu.figures import Row
from u2net.benchmarks.gpu.options import GpuOptions
from u2net.benchmarks.gpu.suite import SuiteResult
from u2net.benchmarks.gpu.targets import Target
from u2net.benchmarks.machine import Machine
from u2net.benchmarks.report import as_json, write_text
from u2net.runtime.files import make_folder


@dataclass(frozen=True)
class GpuReport:
    """Everything that was found."""

    finished: bool
    """False in what is written after each cell, in case the check is ended from outside."""
    date: str
    gpu: str | None
    driver: str
    machine: Machine
    pythons: Mapping[str, Mapping[str, Any]]
    """Each Python that was used, with its packages."""
    options: GpuOptions
    pictures: str
    judged: str
    weights: Mapping[str, str]
    """Where each network's come from."""
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    targets: tuple[Target, ...]
    tests: tuple[SuiteResult, ...]
    layers: Mapping[str, Mapping[str, Any]]
    """Per-layer report of each engine."""


def write_gpu_report(
    folder: Path, name: str, report: GpuReport, page: str, scrub: Callable[[str], str]
) -> tuple[Path, Path]:
    """Write ``<name>.json`` and, with the page, ``<name>.md``.

    Args:
        scrub: takes this machine's paths out of a text.
    """
    make_folder(folder)
    paths = (folder / f"{name}.json", folder / f"{name}.md")
    write_text(paths[0], scrub(json.dumps(as_json(report), indent=1, ensure_ascii=False)) + "\n")
    write_text(paths[1], scrub(page))
    return paths
