"""What got slower or less exact between two reports of the suite, beyond their noise."""

import json
from pathlib import Path
from typing import Any

from u2net.runtime.errors import InputError

LEAST_CHANGE = 0.05
"""Loss of speed, as a share, that is told even if the intervals of both reports are narrower."""

IOU_LOSS = 1e-3
MEAN_GROWTH, MEAN_FLOOR = 2.0, 1e-6
"""Growth of the mean difference that is told, as a factor, and the difference below which rounding explains any."""


def compare_reports(old: Path, new: Path) -> list[str]:
    """Return a sentence for each row that got slower, less exact or lost its figures.

    Speeds are compared as ratios to eager PyTorch of the same report, so that reports of a busy and of a quiet machine
    can be compared. A row is slower if the 95 % intervals of both ratios do not meet.

    Raises:
        InputError: a file is not a report of the suite, or the two have no row in common.
    """
    before, after = _read_rows(old), _read_rows(new)
    common = [key for key in before if key in after]
    if not common:
        raise InputError(f"{old} and {new} have no row in common")
    return [f"{', '.join(key)}: {change}" for key in common for change in _changes(before[key], after[key])]


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    if before["wall"] and not after["wall"]:
        return [f"has no figures any more: {after['error']}"]
    found = []
    old, new = before["ratio"], after["ratio"]
    if old and new and new["high"] < old["low"] and new["value"] < (1 - LEAST_CHANGE) * old["value"]:
        found.append(
            f"slower: {old['value']:.2f}× ({old['low']:.2f}–{old['high']:.2f}) of eager PyTorch's speed, now "
            f"{new['value']:.2f}× ({new['low']:.2f}–{new['high']:.2f})"
        )
    old, new = before["fidelity"], after["fidelity"]
    if old and new and new["iou"] < old["iou"] - IOU_LOSS:
        found.append(f"less exact: IoU {old['iou']:.4f}, now {new['iou']:.4f}")
    if old and new and new["mean"] > MEAN_GROWTH * max(old["mean"], MEAN_FLOOR):
        found.append(f"less exact: mean difference {old['mean']:.1e}, now {new['mean']:.1e}")
    return found


def _read_rows(path: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """Rows by title, network and batch."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        found: dict[tuple[str, ...], dict[str, Any]] = {
            (row["contestant"]["title"], row["network"], f"batch {row['batch']}"): row for row in rows
        }
        for row in rows:
            _changes(row, row)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a report that `u2net bench --suite` wrote") from error
    return found
