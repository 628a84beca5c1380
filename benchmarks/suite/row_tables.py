"""Tables and plots of what was measured, for every report."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from u2net.benchmarks.page import NONE, Table
from u2net.benchmarks.plots import plot_bars
from u2net.benchmarks.statistics import Ratio
from u2net.benchmarks.suite.rows import Row

SPEED_HEADER = (
    "contestant",
    "network",
    "batch",
    "median ms",
    "images/s",
    "vs eager",
    "of limit",
    "IoU",
    "mean Δ",
    "peak MB",
)
STEPS_HEADER = ("contestant", "network", "picture", "decode", "preprocess", "compute", "postprocess", "whole")


def speed_table(rows: Sequence[Row]) -> Table:
    """Every row's figures; a row without figures says why in place of its time."""
    return SPEED_HEADER, [_speed_cells(row) for row in rows]


def _speed_cells(row: Row) -> tuple[str, ...]:
    start = (row.contestant.title, row.network, str(row.batch))
    if row.wall is None or row.images_per_second is None:
        return (*start, row.error, *[NONE] * 6)
    ratio = NONE if row.ratio is None else str(row.ratio)
    fidelity = (NONE, NONE) if row.fidelity is None else (f"{row.fidelity.iou:.4f}", f"{row.fidelity.mean:.1e}")
    limit = NONE if row.limit_share is None else f"{row.limit_share:.0%}"
    memory = NONE if row.memory_mb is None else f"{row.memory_mb:.0f}"
    return (*start, f"{row.wall.median_ms:.1f}", f"{row.images_per_second:.2f}", ratio, limit, *fidelity, memory)


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


def steps_table(rows: Sequence[Row]) -> Table:
    """Milliseconds of the steps from a picture to its mask."""
    return STEPS_HEADER, [
        (
            row.contestant.title,
            row.network,
            f"{each.width}×{each.height}",
            *(
                NONE if value is None else f"{value:.0f}"
                for value in (each.decode, each.preprocess, each.compute, each.postprocess, each.whole)
            ),
        )
        for row in rows
        for each in row.pictures
    ]


def drop_columns(table: Table, *names: str) -> Table:
    """Return a table without the columns of these names."""
    header, rows = table
    kept = [index for index, name in enumerate(header) if name not in names]
    return tuple(header[index] for index in kept), [tuple(cells[index] for index in kept) for cells in rows]


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
