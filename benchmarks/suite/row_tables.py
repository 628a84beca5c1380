"""Tables and plots of what was measured, for every report."""

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Mapping, Sequence

from u2net.benchmarks.page import Table, make_table, show
from u2net.benchmarks.plots import plot_bars
from u2net.benchmarks.statistics import Ratio
from u2net.benchmarks.suite.rows import PictureSteps, Row

SPEED: Mapping[str, Callable[[Row], str]] = {
    "contestant": lambda row: row.contestant.title,
    "network": lambda row: row.network,
    "batch": lambda row: str(row.batch),
    "median ms": lambda row: f"{row.wall.median_ms:.1f}" if row.wall else row.error,
    "images/s": lambda row: show(row.images_per_second, ".2f"),
    "vs eager": lambda row: show(row.ratio),
    "of limit": lambda row: show(row.limit_share, ".0%"),
    "IoU": lambda row: show(row.fidelity and row.fidelity.iou, ".4f"),
    "mean Δ": lambda row: show(row.fidelity and row.fidelity.mean, ".1e"),
    "peak MB": lambda row: show(row.memory_mb, ".0f"),
}
"""Figures of a row; one without figures says why in place of its time."""

STEPS: Mapping[str, Callable[[tuple[Row, PictureSteps]], str]] = {
    "contestant": lambda pair: pair[0].contestant.title,
    "network": lambda pair: pair[0].network,
    "picture": lambda pair: f"{pair[1].width}×{pair[1].height}",
    "decode": lambda pair: show(pair[1].decode, ".0f"),
    "preprocess": lambda pair: show(pair[1].preprocess, ".0f"),
    "compute": lambda pair: show(pair[1].compute, ".0f"),
    "postprocess": lambda pair: show(pair[1].postprocess, ".0f"),
    "whole": lambda pair: show(pair[1].whole, ".0f"),
}
"""Milliseconds of the steps from a picture to its mask."""


STEPS_TEXT = "Each figure is a median of its own, so steps need not add up to the whole."


def speed_table(rows: Sequence[Row], without: Container[str] = ()) -> Table:
    """Return every row's figures, ``without`` the columns of these names."""
    return make_table(SPEED, rows, without)


def steps_table(rows: Sequence[Row], without: Container[str] = ()) -> Table:
    """Return the steps of each picture, ``without`` the columns of these names."""
    return make_table(STEPS, ((row, each) for row in rows for each in row.pictures), without)


def describe_troubles(rows: Sequence[Row]) -> list[str]:
    """List errors, gaps and warnings, each once per cell with the contestants that it applies to."""
    cells = Counter((row.network, row.batch) for row in rows)
    found = defaultdict[tuple[str, int, str], list[str]](list)
    for row in rows:
        for words in filter(None, (row.error, row.fidelity_note, *row.warnings)):
            found[row.network, row.batch, words].append(row.contestant.title)
    return [
        f"{'all' if 1 < len(titles) == cells[network, batch] else '; '.join(titles)}, {network}, batch {batch}: {words}"
        for (network, batch, words), titles in found.items()
    ]


def timed_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows with figures, by network."""
    networks = dict.fromkeys(row.network for row in rows)
    return {name: [row for row in rows if row.network == name and row.wall] for name in networks}


def speed_plots(rows: Sequence[Row]) -> dict[str, str]:
    """Bars of the speed relative to eager PyTorch, by title."""
    unit = "times eager PyTorch's speed"
    return bar_plots(rows, "speed, with 95 % intervals", unit, "{:.2f}×", lambda row: row.ratio)


def bar_plots(
    rows: Sequence[Row], title: str, unit: str, form: str, figure: Callable[[Row], Ratio | None]
) -> dict[str, str]:
    """Bars of a figure for each network, by title."""
    plots = {}
    for network, timed in timed_rows(rows).items():
        groups: dict[str, dict[str, Ratio]] = {}
        for row in timed:
            if (found := figure(row)) is not None:
                name = f"{form.format(found.value)} at batch {row.batch}"
                groups.setdefault(row.contestant.title, {})[name] = found
        if groups:
            plots[f"{network}: {title}"] = plot_bars(groups, unit)
    return plots
