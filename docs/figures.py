"""Put the figures of ``docs/results`` into README.md, between its markers: ``python docs/figures.py``."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
RESULTS = Path(__file__).parent / "results"

SUITE_BATCH = 1
"""Batch size of the rows that README shows."""


def read_result(name: str) -> Any:
    """Read a JSON file of the results."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def demo_table() -> str:
    """What ``make demo`` found of each stage."""
    report = read_result("demo.json")
    build, bench = report["build"], report["bench"]
    speeds = {row["model"]: row for row in bench["rows"]}
    last = {stage["graph"]["path"]: stage["name"] for stage in build["stages"]}
    rows = [("eager", "–", "–", "–", "–", *_speed(speeds[build["checkpoint"]]), "")]
    for stage in build["stages"]:
        graph, parity = stage["graph"], stage["parity"]
        spread, speed = parity["outputs"][0]["probability"], speeds.get(graph["path"])
        rows.append(
            (
                stage["name"],
                f"{graph['size_bytes'] / 1e6:.1f} MB",
                f"{spread['largest']['value']:.1e}",
                f"{spread['mean']:.1e}",
                f"{parity['mask']['iou']:.5f}",
                *_speed(speed if last[graph["path"]] == stage["name"] else None),
                "FAILED" if parity["failures"] else "passed",
            )
        )
    if engine := build["engine"]:
        rows.append(("engine", f"{engine['stage']['size_bytes'] / 1e6:.1f} MB", *["–"] * 5, "not run"))
    return _table(("stage", "size", "largest Δ", "mean Δ", "mask IoU", "latency", "vs eager", "gate"), rows)


def suite_table() -> str:
    """What the suite found of each contestant that ran."""
    rows = [
        (
            row["contestant"]["title"],
            row["network"],
            f"{row['wall']['median_ms']:.0f} ms",
            f"{row['ratio']['value']:.2f}× ({row['ratio']['low']:.2f}–{row['ratio']['high']:.2f})",
            f"{row['fidelity']['iou']:.4f}" if row["fidelity"] else "–",
        )
        for row in read_result("suite.json")["rows"]
        if row["ratio"] and row["batch"] == SUITE_BATCH
    ]
    return _table(("batch 1, 320×320", "network", "median", "vs eager (95 %)", "IoU"), rows)


def scores() -> str:
    """The scores of the bundled weights."""
    found = read_result("duts-te-1000.json")["scores"]
    weights, guess = found["model/weights/u2netp.safetensors"], found["centred Gaussian"]
    return f"max-Fβ {weights['max_f']:.3f}, MAE {weights['mae']:.3f} (a centred Gaussian guess: " + (
        f"{guess['max_f']:.3f}, {guess['mae']:.3f})"
    )


BLOCKS: dict[str, Callable[[], str]] = {"demo": demo_table, "suite": suite_table, "scores": scores}


def fill(text: str) -> str:
    """Return the text with every marked block replaced by its figures."""
    for name, figures in BLOCKS.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        text, count = re.subn(rf"(?s)({begin}\n?).*?(\n?{end})", rf"\g<1>{figures()}\g<2>", text)
        if count != 1:
            raise ValueError(f"README has {count} blocks between {begin} and {end}, not one")
    return text


def _speed(row: dict[str, Any] | None) -> tuple[str, str]:
    return (f"{row['compute']['median_ms']:.0f} ms", f"{row['ratio']['value']:.2f}×") if row else ("–", "–")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows))


if __name__ == "__main__":
    README.write_text(fill(README.read_text(encoding="utf-8")), encoding="utf-8")
