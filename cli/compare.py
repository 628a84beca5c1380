"""``u2net bench --compare``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.printing import console, print_line


def compare_suites(
    old: Annotated[Path, typer.Argument(help="JSON report of bench or of its suite.")],
    new: Annotated[Path, typer.Argument(help="Later report.")],
) -> None:
    """Say what got slower or less exact beyond noise; exit status 1 if anything did."""
    from u2net.benchmarks.suite.comparison import compare_reports

    changes = compare_reports(old, new)
    for change in changes.found:
        print_line(change, style="red")
    if changes.note:
        print_line(changes.note, style="yellow")
    worse = bool(changes.found)
    console.print("something got worse" if worse else "nothing got worse", style="red" if worse else "green")
    raise typer.Exit(1 if worse else 0)
