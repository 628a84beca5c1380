"""Writes reports: JSON for programs, Markdown and HTML for people."""

import json
import math
from collections.abc import Iterable
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from u2net.benchmarks.page import Page
from u2net.runtime.device import Device
from u2net.runtime.errors import ExportError
from u2net.runtime.files import write_errors_as, written_whole


def as_json(value: Any) -> Any:
    """Turn dataclasses, paths and what they hold into values for JSON; Inf and NaN, which JSON lacks, become text."""
    if is_dataclass(value) and not isinstance(value, type | Device):
        return {each.name: as_json(getattr(value, each.name)) for each in json_fields(type(value))}
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, Path | Device) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value


def json_fields(kind: type) -> list[Field[Any]]:
    """The fields of a dataclass that its JSON has: all but those whose metadata say ``json=False``."""
    return [each for each in fields(kind) if each.metadata.get("json", True)]


def write_page(path: Path, page: Page) -> tuple[Path, Path]:
    """Write a page as Markdown and as HTML beside each other; ``path`` has no suffix."""
    files = path.with_name(f"{path.name}.md"), path.with_name(f"{path.name}.html")
    write_text(files[0], page.markdown())
    write_text(files[1], page.html())
    return files


def write_json(path: Path, value: Any) -> None:
    """Write what :func:`as_json` makes of a value; see :func:`write_text`."""
    write_text(path, json.dumps(as_json(value), indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        ExportError: the folder is missing or not writable.
    """
    with write_errors_as(ExportError, path), written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files may be no UTF-8


def short_names(models: Iterable[Path | str]) -> list[str]:
    """Return the end of each path, with as many folders as tell it from the others."""
    parts, names = [Path(model).parts for model in models], []
    for own in parts:
        others = [other for other in parts if other != own]
        count = next((n for n in range(1, len(own)) if all(own[-n:] != other[-n:] for other in others)), len(own))
        names.append(str(Path(*own[-count:])))
    return names
