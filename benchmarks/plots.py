"""Plots as SVG that takes its colours from the page."""

import io
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from u2net.benchmarks.statistics import Ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, LINE = "#010203", "#040506"
"""Stand for the page's colours of text and of lines while a plot is drawn."""

COLOURS = ("#3b82c4", "#e07b39", "#3a9d5d", "#c94f4f", "#8a6fc0", "#9a7b4f", "#d268a8", "#7f8a93", "#a5a532", "#2ba3ad")
"""Told apart on white and on black."""

WIDTH = 5.0
"""In inches: narrow, so that a phone shows the text at its size."""

HEIGHT = 3.6
"""Of a plot with two axes, in inches."""

NEVER = 1e-8
"""Difference that stands for none on a logarithmic axis."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.linewidth": 0.6,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), LINE),
}

Point = tuple[float, float]


def plot_bars(groups: Mapping[str, Mapping[str, Ratio]], unit: str) -> str:
    """Bars from 0 with intervals: under the name of each group, its values by their names."""
    count = sum(1 + len(values) for values in groups.values())

    def draw(axes: "Axes") -> None:
        y, most = 0, max(each.high for values in groups.values() for each in values.values())
        for group, values in groups.items():
            axes.text(0, y, group, va="center")
            for index, (name, each) in enumerate(values.items(), 1):
                error = [[max(0, each.value - each.low)], [max(0, each.high - each.value)]]
                axes.barh(
                    y + index,
                    each.value,
                    0.8,
                    color=COLOURS[index % len(COLOURS) - 1],
                    xerr=error,
                    ecolor=INK,
                    capsize=3,
                )
                axes.text(each.high + 0.015 * most, y + index, name, va="center", size=9)
            y += 1 + len(values)
        axes.set(xlabel=unit, yticks=[], xlim=(0, 1.35 * most), ylim=(y - 0.4, -0.6))
        axes.spines["left"].set_visible(False)

    return _as_svg(draw, 0.6 + 0.2 * count)


def plot_points(points: Mapping[str, Point], across: str, up: str) -> str:
    """Points with their names, logarithmic across."""

    def draw(axes: "Axes") -> None:
        shown = {name: (max(x, NEVER), y) for name, (x, y) in points.items()}
        for (x, y), colour in zip(shown.values(), COLOURS * len(shown), strict=False):
            axes.plot(x, y, "o", color=colour)
        right = max(x for x, _ in shown.values())
        axes.set(xlabel=across, ylabel=up, xscale="log", xlim=(NEVER / 2, right * (right / NEVER) ** 0.7 * 3))
        axes.set_ylim(0, 1.1 * max(y for _, y in shown.values()))
        axes.xaxis.set_major_formatter(lambda x, _tick: f"{x:.0e}")
        axes.tick_params(axis="x", labelrotation=30)
        axes.grid(True)
        _write_names(axes, shown)

    return _as_svg(draw, HEIGHT)


def plot_lines(lines: Mapping[str, Sequence[Point]], marked: Mapping[str, float | None], across: str, up: str) -> str:
    """Plot named lines on a logarithmic x-axis, and ring the point of each line at its marked x."""

    def draw(axes: "Axes") -> None:
        for (name, points), colour in zip(lines.items(), COLOURS * len(lines), strict=False):
            axes.plot(*zip(*points, strict=True), "-o", color=colour, markersize=4)
            for ring in (each for each in points if each[0] == marked.get(name)):
                axes.plot(*ring, "o", mfc="none", mec=INK, ms=11)
        ticks = sorted({x for points in lines.values() for x, _ in points})
        axes.set_xscale("log", base=2)
        axes.set(xlabel=across, ylabel=up, xlim=(ticks[0] / 1.2, ticks[-1] * max(2, ticks[-1] / ticks[0]) ** 0.6))
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_ylim(0, 1.15 * max(y for points in lines.values() for _, y in points))
        axes.grid(True)
        _write_names(axes, {name: points[-1] for name, points in lines.items()})

    return _as_svg(draw, HEIGHT)


def _write_names(axes: "Axes", ends: Mapping[str, Point]) -> None:
    """Write a name to the right of each point; those that would overlap move apart."""
    height = 0.72 * 72 * HEIGHT  # in points of text, about
    scale, below, line = height / axes.get_ylim()[1], float("-inf"), {"arrowstyle": "-", "color": LINE, "shrinkB": 5}
    for index, (name, (x, y)) in enumerate(sorted(ends.items(), key=lambda end: end[1][1]), 1):
        below = min(max(y * scale, below + 11), height - 11 * (len(ends) - index))
        place = (9, below - y * scale - 3)
        axes.annotate(name, (x, y), place, textcoords="offset points", size=9, arrowprops=line).set_in_layout(False)


def _as_svg(draw: Callable[["Axes"], None], height: float) -> str:
    """Draw a plot; empty where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with rc_context(STYLE):
        figure = Figure((WIDTH, height), layout="constrained")
        draw(figure.subplots())
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    svg = stream.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor").replace(LINE, "var(--line)")
