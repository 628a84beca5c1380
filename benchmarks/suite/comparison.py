"""What got slower or less exact between two reports of a benchmark, beyond their noise."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from u2net.benchmarks.noise import Noise
from u2net.runtime.errors import InputError

LEAST_CHANGE = 0.05
"""Smallest relative loss of speed to report, however narrow the intervals of both reports are."""

IOU_LOSS = 1e-3
MEAN_GROWTH, MEAN_FLOOR = 2.0, 1e-6
"""Factor by which the mean difference must grow to be reported; old values below the floor count as the floor."""


@dataclass(frozen=True)
class Changes:
    """What got worse from one report to the next."""

    found: tuple[str, ...]
    """A sentence for each row that got slower, less exact, lost its figures or is not in the later report."""
    note: str
    """Why speeds were not compared; empty if they were."""


def compare_reports(old: Path, new: Path, *, least_change: float = LEAST_CHANGE) -> Changes:
    """Compare two reports row by row.

    Speeds are compared as ratios to eager PyTorch of the same report, and only between reports of the same hardware
    whose machine was quiet. A row is slower if the 95 % intervals of both ratios do not meet and the ratio has fallen
    by more than ``least_change``, a share.

    Raises:
        InputError: a file is not a report of `bench`, or the two have no row in common.
    """
    before, old_hardware, old_noise = _read_report(old)
    after, new_hardware, new_noise = _read_report(new)
    common = [key for key in before if key in after]
    if not common:
        raise InputError(f"{old} and {new} have no row in common")
    note = ""
    if old_hardware != new_hardware:
        note = f"speeds are not compared: {old} is of {old_hardware}, {new} of {new_hardware}"
    for path, noise in ((old, old_noise), (new, new_noise)):
        note = note or (noise and f"speeds are not compared: the machine of {path} was busy")
    loss = math.inf if note else least_change
    found = [f"{', '.join(key)}: {change}" for key in common for change in _changes(before[key], after[key], loss)]
    lost = [f"{', '.join(key)}: is not in {new}" for key, row in before.items() if key not in after and row["wall"]]
    return Changes((*found, *lost), note)


def _changes(before: dict[str, Any], after: dict[str, Any], least_change: float) -> list[str]:
    if before["wall"] and not after["wall"]:
        return [f"has no figures any more: {after['error']}"]
    found = []
    old, new = before["ratio"], after["ratio"]
    if old and new and new["high"] < old["low"] and new["value"] < (1 - least_change) * old["value"]:
        found.append(
            f"slower: {old['value']:.2f}× ({old['low']:.2f}–{old['high']:.2f}) of eager PyTorch's speed, now "
            f"{new['value']:.2f}× ({new['low']:.2f}–{new['high']:.2f})"
        )
    old, new = before["fidelity"], after["fidelity"]
    mean, now = (float(each["mean"]) if each else 0.0 for each in (old, new))  # the text "inf" after NaN in the maps
    if old and new and new["iou"] < old["iou"] - IOU_LOSS:
        found.append(f"less exact: IoU {old['iou']:.4f}, now {new['iou']:.4f}")
    if old and new and now > MEAN_GROWTH * max(mean, MEAN_FLOOR):
        found.append(f"less exact: mean difference {mean:.1e}, now {now:.1e}")
    return found


def _read_report(path: Path) -> tuple[dict[tuple[str, ...], dict[str, Any]], str, str]:
    """Return the rows by title, network and batch; the hardware; and why figures must not be quoted, if so."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        rows: dict[tuple[str, ...], dict[str, Any]] = {
            (row["contestant"]["title"], row["network"], f"batch {row['batch']}"): row for row in values["rows"]
        }
        for row in rows.values():
            _changes(row, row, 0.0)
        hardware = values["machine"]["gpu"] or values["machine"]["processor"]
        return rows, hardware, Noise(**values["noise"]).warning
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not a report that `u2net bench` wrote") from error
