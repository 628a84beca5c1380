"""A report for people: its sections as Markdown, and as one HTML file with plots and pictures."""

import base64
import io
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from u2net.benchmarks.machine import Machine

NONE = "–"
TEMPLATE = Path(__file__).with_name("page.html")

THUMBNAIL = 176
"""Longer side of the pictures in pixels."""

LONG = 24
"""Characters from which a cell holds words and not a figure."""

Table = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]
"""Header and rows of a table, as text."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Figure:
    """Pictures of one thing in a row: data URIs by what they show."""

    caption: str
    pictures: Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """A part of a report. Backticks in its text mark code."""

    title: str
    text: str = ""
    table: Table | None = None
    notes: Sequence[str] = ()
    """Items of a list."""
    command: str = ""
    plots: Mapping[str, str] = field(default_factory=dict)
    """SVG by title; in HTML alone."""
    tabs: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    """Figures by the title of their tab; in HTML alone."""

    @property
    def printed(self) -> bool:
        """True if Markdown has something to show beside the text."""
        return bool((self.table and self.table[1]) or self.notes or self.command)

    def __bool__(self) -> bool:
        """True if HTML has something to show beside the text."""
        return self.printed or bool(self.plots or self.tabs)


@dataclass(frozen=True)
class Page:
    """A whole report. Sections that have nothing to show are left out."""

    title: str
    verdict: str
    warnings: Sequence[str]
    sections: Sequence[Section]

    def markdown(self) -> str:
        """The page without plots and pictures."""
        parts = [f"# {self.title}\n", *(f"**{warning}**\n" for warning in self.warnings), f"{self.verdict}\n"]
        for each in self.sections:
            if each.printed:
                body = (
                    f"{each.text}\n" if each.text else "",
                    table(*each.table) if each.table else "",
                    "".join(f"- {note}\n" for note in each.notes),
                    f"    {each.command}\n" if each.command else "",
                )
                parts += [f"## {each.title}\n", *filter(None, body)]
        return "\n".join(parts)

    def html(self) -> str:
        """The page as one file that refers to no other."""
        from jinja2 import Environment

        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        environment.filters.update(code=_mark_code, spans=_spans)
        return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(page=self, long=LONG)


def make_table(
    columns: Mapping[str, Callable[[_Item], str]], items: Iterable[_Item], without: Container[str] = ()
) -> Table:
    """Make a table with a row for each item, ``without`` the columns of these names.

    Columns have a name and a function that returns an item's cell.
    """
    kept = {name: cell for name, cell in columns.items() if name not in without}
    return tuple(kept), [tuple(cell(item) for cell in kept.values()) for item in items]


def show(value: object, form: str = "") -> str:
    """Format a figure, or return a dash for None."""
    return NONE if value is None else format(value, form)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in cells] for cells in lines)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in escaped)


def machine_section(machine: Machine, settings: str) -> Section:
    """The machine and the settings behind the figures."""
    facts = {each.name: getattr(machine, each.name) for each in fields(machine)}
    facts["versions"] = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    notes = [f"{name.replace('_', ' ')}: {fact}" for name, fact in facts.items() if fact is not None]
    return Section("Environment", notes=[f"settings: {settings}", *notes])


def picture_uri(picture: Image.Image) -> str:
    """A picture, made small, as a data URI."""
    small, stream = picture.copy(), io.BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(stream, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def _mark_code(text: str) -> Any:
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _spans(cells: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return each cell with its column span: a message in place of figures also spans the dashes to its right."""
    kept = list(cells)
    while kept[-1] == NONE:
        kept.pop()
    if len(kept[-1]) < LONG:
        return [(cell, 1) for cell in cells]
    return [*((cell, 1) for cell in kept[:-1]), (kept[-1], len(cells) - len(kept) + 1)]
