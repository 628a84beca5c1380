"""The targets, judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from u2net.benchmarks.gpu.figures import Row, Timing
from u2net.benchmarks.gpu.protocol import Clock

Verdict = Literal["met", "missed", "not measured"]
CLOCKS: tuple[Clock, ...] = ("device", "wall")

SPEEDUP, SPEEDUP_BATCH = 5.0, 1
THROUGHPUT, THROUGHPUT_BATCH = 3000.0, 32
IOU, MEAN = 0.999, 1e-3
NETWORK = "u2net"
"""That the targets of speed are set for."""


@dataclass(frozen=True)
class Target:
    """One target and what was found."""

    what: str
    verdict: Verdict
    found: str


def judge_targets(rows: Sequence[Row], judged: str) -> tuple[Target, ...]:
    """All targets; those of speed once for device time and once for wall time.

    Args:
        judged: set of pictures that parity is judged on.
    """
    speed = [judge(rows, clock) for judge in (_ahead, _speedup, _throughput) for clock in CLOCKS]
    return (*speed, *_parity(rows, judged))


def timing(row: Row, clock: Clock) -> Timing | None:
    """The row's times on that clock."""
    return row.device if clock == "device" else row.wall


def best_tensorrt(rows: Sequence[Row], network: str, batch: int, clock: Clock) -> tuple[Row, Timing] | None:
    """The quickest TensorRT row of a network and batch size."""
    found = [
        (row, times)
        for row in rows
        if row.is_tensorrt and (row.network, row.batch) == (network, batch) and (times := timing(row, clock))
    ]
    return min(found, key=lambda each: each[1].latency.median_ms, default=None)


def _ahead(rows: Sequence[Row], clock: Clock) -> Target:
    what = f"TensorRT FP16 ahead of every other row, {clock} time"
    cells = list(dict.fromkeys((row.network, row.batch) for row in rows))
    won: list[str] = []
    lost: list[str] = []
    open_: list[str] = []
    for network, batch in cells:
        best = best_tensorrt(rows, network, batch, clock)
        others = [
            (times.latency.median_ms, row.title)
            for row in rows
            if not row.is_tensorrt and (row.network, row.batch) == (network, batch) and (times := timing(row, clock))
        ]
        where = f"{network} at batch {batch}"
        if best is None or not others:
            open_.append(where)
            continue
        quickest, title = min(others)
        median = best[1].latency.median_ms
        found = f"{where}: {quickest / median:.2f} × {title} ({median:.3f} and {quickest:.3f} ms)"
        (won if median < quickest else lost).append(found)
    parts = [*lost, *won, *([f"not measured: {', '.join(open_)}"] if open_ else [])]
    verdict: Verdict = "missed" if lost else "not measured" if open_ or not won else "met"
    return Target(what, verdict, "; ".join(parts) or "nothing was measured")


def _speedup(rows: Sequence[Row], clock: Clock) -> Target:
    what = f"{NETWORK} at least {SPEEDUP:.0f} × eager FP32 (defaults) at batch {SPEEDUP_BATCH}, {clock} time"
    best = best_tensorrt(rows, NETWORK, SPEEDUP_BATCH, clock)
    ratio = best[1].ratio if best else None
    if best is None or ratio is None:
        return Target(what, "not measured", f"there is no such time of {NETWORK} at batch {SPEEDUP_BATCH}")
    found = f"{ratio.value:.2f} × ({ratio.low:.2f}–{ratio.high:.2f}), {best[0].title}"
    return Target(what, "met" if ratio.value >= SPEEDUP else "missed", found)


def _throughput(rows: Sequence[Row], clock: Clock) -> Target:
    what = f"{NETWORK} at least {THROUGHPUT:.0f} images/s at batch {THROUGHPUT_BATCH}, {clock} time"
    best = best_tensorrt(rows, NETWORK, THROUGHPUT_BATCH, clock)
    if best is None:
        return Target(what, "not measured", f"there is no such time of {NETWORK} at batch {THROUGHPUT_BATCH}")
    rate = best[1].images_per_second
    return Target(what, "met" if rate >= THROUGHPUT else "missed", f"{rate:.0f} images/s, {best[0].title}")


def _parity(rows: Sequence[Row], judged: str) -> list[Target]:
    targets = []
    for network in dict.fromkeys(row.network for row in rows):
        where = f"{network}, TensorRT FP16, on the {judged}"
        iou, mean = f"{where}: IoU at 0.5 at least {IOU}", f"{where}: mean difference at most {MEAN:g}"
        own = [row for row in rows if row.is_tensorrt and row.network == network]
        found = [(parity, row) for row in own for parity in row.parity if parity.pictures == judged]
        if not found:
            why = "; ".join(dict.fromkeys(row.parity_note for row in own if row.parity_note)) or "no engine ran"
            targets += [Target(what, "not measured", why) for what in (iou, mean)]
            continue
        parity, row = min(found, key=lambda each: each[0].iou)
        told = f"{parity.iou:.6f}, {row.title} at batch {row.batch}"
        targets.append(Target(iou, "met" if parity.iou >= IOU else "missed", told))
        parity, row = max(found, key=lambda each: each[0].mean)
        told = f"{parity.mean:.2e}, {row.title} at batch {row.batch}"
        targets.append(Target(mean, "met" if parity.mean <= MEAN else "missed", told))
    return targets
