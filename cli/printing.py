"""Tables and findings on the terminal."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from u2net.cli.main import printable

if TYPE_CHECKING:
    from u2net.model.metrics import SaliencyScores
    from u2net.model.training import TrainStatus

console = Console(highlight=False, markup=False, emoji=False)
"""Prints text as it is: a file may be named [red] or :cat:."""

progress_console = Console(highlight=False, markup=False, emoji=False, stderr=True)
"""Prints what is not a result, so that standard output stays clean for programs."""

PROGRESS_SECONDS = 5.0
"""Time between two lines of progress where there is no terminal for a spinner."""

FIRST_WIDTH = 8
"""Least width of a table's first column in characters, so that no stage's name is broken."""

UNLIMITED = 10_000
"""Width of a table, in characters, where the output is no terminal."""

GAP = 2
"""Spaces between two columns of a table."""


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None, *, words: int = 1
) -> None:
    """Print a table: the first ``words`` columns left-aligned, figures right-aligned.

    On a terminal it fits the width; in a file or a pipe each row is one line, however long.
    """
    if title is not None:
        print_line(title, style="italic")
    header = [printable(name) for name in header]
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    lines = [[printable(cell) for cell in row] for row in rows]
    widths = (max(len(line[index]) + GAP for line in (header, *lines)) for index in range(len(header)))
    room = console.width if console.is_terminal else UNLIMITED
    if sum(widths) > room:  # narrower gaps and headings of several lines, so that no figure is broken
        table.padding = 0
        header = [name.replace(" %", "\N{NO-BREAK SPACE}%").replace(" ", "\n") for name in header]
    for index, name in enumerate(header):
        least = FIRST_WIDTH if index == 0 else None
        table.add_column(name, justify="left" if index < words else "right", overflow="fold", min_width=least)
    for line in lines:
        table.add_row(*line)
    table.width = Measurement.get(console, console.options.update(max_width=room), table).maximum
    with console.capture() as captured:
        console.print(table, crop=False)
    console.out("\n".join(line.rstrip() for line in captured.get().splitlines()), highlight=False)


def print_line(text: str, *, style: str | None = None, place: Console = console) -> None:
    """Print text that may come from a file, without control characters; the terminal wraps long lines."""
    place.print(printable(text), style=style, soft_wrap=True)


def print_warnings(warnings: Iterable[str]) -> None:
    """Print warnings in yellow, such as which figures a busy machine has spoilt."""
    for warning in warnings:
        print_line(warning, style="yellow")


@contextmanager
def progress_lines() -> Iterator[Callable[[str], None]]:
    """Yield a callback that shows the current work: beside a spinner or, without a terminal, now and then on stderr."""
    if console.is_terminal:
        with console.status("starting") as status:
            yield status.update
        return
    works, done = [""], Event()

    def tell() -> None:
        told = ""
        while not done.wait(PROGRESS_SECONDS):
            if works[-1] != told:
                told = works[-1]
                print_line(told, place=progress_console)

    teller = Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield works.append
    finally:
        done.set()
        teller.join()


@contextmanager
def build_bar() -> Iterator[Callable[[str, float], None]]:
    """Yield a callback that shows the current work and the share done as a bar, which disappears at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=1.0)

        def show(what: str, share: float) -> None:
            if progress.tasks[0].finished and share < 1:  # the next part of the work is timed anew
                progress.reset(task)
            progress.update(task, description=what, completed=share)

        yield show


@contextmanager
def training_bar() -> Iterator[Callable[["TrainStatus"], None]]:
    """Yield a callback that shows a training as a progress bar, or, without a terminal, as a line for each percent.

    The scores of validations stay visible either way.
    """
    lines = console if console.is_terminal else progress_console
    told = set[str]()
    shows: list[Callable[[str, float], None]] = []
    with ExitStack() as bar:

        def tell(status: "TrainStatus") -> None:
            text, percent = _describe_status(status), f"{status.progress:4.0%}"
            if not shows:  # only the process that reports draws a bar
                shows.append(bar.enter_context(build_bar()))
            shows[0](text, status.progress)
            unseen = status.loss is not None and percent not in told and not console.is_terminal
            if unseen or status.scores is not None:
                print_line(f"{percent} {text}", place=lines)
                told.add(percent)

        yield tell


def describe_scores(scores: "SaliencyScores") -> str:
    """Return the scores that a training reports, in one line."""
    return (
        f"MAE {scores.mae:.4f}, max-F {scores.max_f:.4f}, IoU {scores.iou:.4f} on {scores.pictures} held-out "
        f"picture{'s' if scores.pictures > 1 else ''}"
    )


def _describe_status(status: "TrainStatus") -> str:
    if status.scores is not None:
        return f"{status.activity}: {describe_scores(status.scores)}"
    if status.loss is None or status.images_per_second is None or status.waiting is None:
        return status.activity
    speed = f"{status.images_per_second:.1f} images/s, {status.waiting:.0%} waiting for data"
    return f"{status.activity}: loss {status.loss:.3f}, {speed}"
