"""A training that takes seconds."""

import csv
from pathlib import Path

from u2net.model.training import Recipe, Stage, TrainOptions

RECIPE = Recipe(size=48, stages=(Stage(0.0, 32),), batch=2, learning_rate=1e-3)
OPTIONS = TrainOptions(recipe=RECIPE, epochs=2, seed=3)


def read_log(output: Path) -> list[dict[str, str]]:
    """Rows of all logs of a training, in order."""
    rows: list[dict[str, str]] = []
    for found in sorted(output.rglob("metrics.csv")):
        with found.open(newline="") as stream:
            rows += csv.DictReader(stream)
    return rows


def logged(output: Path, name: str) -> list[float]:
    """Values of one column, in order."""
    return [float(row[name]) for row in read_log(output) if row.get(name)]
