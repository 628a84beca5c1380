"""Tables and findings on the terminal."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from u2net.export import EngineStage
    from u2net.model.training import Status

console = Console(highlight=False, markup=False, emoji=False)
"""Prints text as it is: a file may be named [red] or :cat:."""


FIRST_WIDTH = 8
"""Columns that the first column of a table keeps at least, so that no stage's name is broken."""


def printable(text: str) -> str:
    """A text without what could steer a terminal: what a file says of itself is not to be trusted."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None, *, words: int = 1
) -> None:
    """A table that fits 80 columns: the first ``words`` columns to the left, figures to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for index, name in enumerate(header):
        least = FIRST_WIDTH if index == 0 else None
        table.add_column(name, justify="left" if index < words else "right", overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*map(printable, row))
    console.print(table)


@contextmanager
def build_bar() -> Iterator[Callable[[str, float], None]]:
    """A bar that is told what is being done and the share that is done; it goes when the work ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=1.0)

        def show(what: str, share: float) -> None:
            if progress.tasks[0].finished and share < 1:  # a next part of the work has a time of its own
                progress.reset(task)
            progress.update(task, description=what, completed=share)

        yield show


@contextmanager
def training_bar() -> Iterator[Callable[["Status"], None]]:
    """A bar that is told how a training gets on."""
    with build_bar() as show:
        yield lambda status: show(_describe_status(status), status.progress)


def _describe_status(status: "Status") -> str:
    if status.loss is None or status.images_per_second is None or status.waiting is None:
        return status.doing
    speed = f"{status.images_per_second:.1f} images/s, {status.waiting:.0%} waiting for data"
    return f"{status.doing}: loss {status.loss:.3f}, {speed}"


def describe_engine_stage(stage: "EngineStage") -> str:
    """An engine that was built, in one line."""
    record = stage.record
    profiles = " and ".join(map(str, record.profiles))
    size, where = f"{stage.size_bytes / 1e6:.1f} MB", record.gpu or ", ".join(record.targets)
    built = f"{record.flavour} {record.version}" + (f" for {where}" if where else "")
    return f"{stage.path}: {built}, {record.precision}, {profiles}, {size}, {stage.seconds:.1f} s"
