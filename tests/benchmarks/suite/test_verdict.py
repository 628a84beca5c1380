"""Covers benchmarks/suite/verdict.py and the command of benchmarks/suite/report.py."""

from pathlib import Path

import pytest

from u2net.benchmarks.statistics import Latency, Ratio
from u2net.benchmarks.suite.contestants import EVERYWHERE, ON_CPU, Contestant
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.report import repeat_command
from u2net.benchmarks.suite.row_tables import describe_troubles
from u2net.benchmarks.suite.rows import Fidelity, Row
from u2net.benchmarks.suite.verdict import give_verdict

EAGER, PLAIN, OURS, OPENVINO = EVERYWHERE[0], EVERYWHERE[1], EVERYWHERE[2], ON_CPU[4]


def rows(*speeds: float, iou: float | None = 1.0, width: float = 0.1, batch: int = 1) -> list[Row]:
    """Rows of eager PyTorch, the plain file, ours and OpenVINO, the last of that fidelity."""
    found = []
    for contestant, speed in zip((EAGER, PLAIN, OURS, OPENVINO), speeds, strict=False):
        row = Row(contestant, "u2netp", batch, wall=Latency(1e3 / speed, 1, 1), images_per_second=speed)
        row.ratio = Ratio(speed, speed - width, speed + width)
        row.fidelity = None if iou is None else Fidelity(8, iou if contestant is OPENVINO else 1.0, 1e-6, 1e-4)
        found.append(row)
    return found


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (rows(1, 1.5, 2, 3), f"{OPENVINO.title} is fastest, 3.00× eager PyTorch (2.90–3.10), mask IoU 1.0000."),
        (
            rows(1, 1.95, 2, 1.2),
            f"2.00× eager PyTorch (1.90–2.10), in a tie with {PLAIN.title}",
        ),
        (rows(1, 1.05), "no contestant within FP16's limits is measurably faster than eager PyTorch."),
        (
            rows(1, 1.5, 2, 3, iou=0.9),
            f"mask IoU 1.0000 ({OPENVINO.title} is faster, but differs by more than FP16 may).",
        ),
        (rows(1, 1.5, iou=None), f"{PLAIN.title} is fastest, 1.50× eager PyTorch (1.40–1.60), fidelity not judged."),
        (rows(1, 1.5) + rows(1, 3, batch=4), f"U2NETP at batch 1: {PLAIN.title} is fastest, 1.50×"),
        ([Row(EAGER, "u2netp", 1, error="gone")], "Nothing ran."),
    ],
)
def test_the_verdict_names_the_fastest_whose_fidelity_holds(measured: list[Row], said: str) -> None:
    assert said in give_verdict(measured)


def test_the_command_repeats_the_run() -> None:
    options = SuiteOptions(batches=(1, 4), seed=7, images=Path("my photos"), pythons={"rembg": "r/python"})

    assert repeat_command(options) == (
        "u2net bench --suite --networks u2netp,u2net --batches 1,4 --size 320 --rounds 15 --minutes 14 --seed 7 "
        "--images 'my photos' --device cpu --python rembg=r/python"
    )


def test_what_is_true_of_a_whole_cell_is_said_once() -> None:
    rows = [
        Row(Contestant(key, key, "file", "fp32", "fp32"), "u2netp", batch, fidelity_note="untrained weights")
        for batch in (1, 4)
        for key in "abc"
    ]
    rows[1].error, rows[5].warnings = "opening: failed", ["slow"]

    assert describe_troubles(rows) == [
        "all, u2netp, batch 1: untrained weights",
        "b, u2netp, batch 1: opening: failed",
        "all, u2netp, batch 4: untrained weights",
        "c, u2netp, batch 4: slow",
    ]
