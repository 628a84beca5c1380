"""The suite's verdict in one sentence."""

from collections.abc import Sequence

from u2net.benchmarks.suite.rows import Row
from u2net.export.parity.tolerances import TOLERANCES

HOLDS = TOLERANCES["fp16"]
"""Limits within which fidelity holds."""


def give_verdict(rows: Sequence[Row]) -> str:
    """For each network, at its smallest batch, name the fastest contestant within FP16's limits, and its speedup."""
    # Graphs of images take other input in the turns, so they are compared from picture to mask alone.
    timed = [row for row in rows if row.images_per_second is not None and not row.contestant.takes_images]
    networks = {row.network: min(each.batch for each in timed if each.network == row.network) for row in timed}
    clauses = [
        _judge(network, batch, [row for row in timed if (row.network, row.batch) == (network, batch)])
        for network, batch in networks.items()
    ]
    return f"{'; '.join(clauses)}." if clauses else "Nothing ran."


def holds(row: Row) -> bool:
    """True if the row's masks and maps are within the limits of FP16."""
    return row.fidelity is not None and row.fidelity.iou >= HOLDS.iou and row.fidelity.mean <= HOLDS.mean


def _judge(network: str, batch: int, rows: Sequence[Row]) -> str:
    judged = any(row.fidelity for row in rows)
    by_speed = sorted(rows, key=lambda row: -(row.images_per_second or 0))
    faithful = [row for row in by_speed if holds(row) or not judged]
    start = f"{network.upper()} at batch {batch}"
    if not faithful:
        return f"{start}: no contestant's maps are within FP16's limits"
    best = faithful[0]
    if best.ratio is None:
        found = "eager PyTorch did not run, so there are no speedups"
    elif best.ratio.low <= 1:
        found = "no contestant within FP16's limits is measurably faster than eager PyTorch"
    else:
        ties = [row.contestant.title for row in faithful[1:] if row.ratio and row.ratio.high >= best.ratio.low]
        found = (
            f"{best.contestant.title} is fastest, {best.ratio.value:.2f}× eager PyTorch "
            f"({best.ratio.low:.2f}–{best.ratio.high:.2f})"
        )
        found += f", in a tie with {' and '.join(ties)}" if ties else ""
        found += f", mask IoU {best.fidelity.iou:.4f}" if best.fidelity else ", fidelity not judged"
    faster = by_speed[: by_speed.index(best)]
    found += f" ({faster[0].contestant.title} is faster, but differs by more than FP16 may)" if faster else ""
    return f"{start}: {found}"
