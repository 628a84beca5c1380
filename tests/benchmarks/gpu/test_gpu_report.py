import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from u2net.benchmarks.gpu.discovery import slug
from u2net.benchmarks.gpu.figures import Parity, Row, Share
from u2net.benchmarks.gpu.options import GpuOptions
from u2net.benchmarks.gpu.page import PARITY_HEADER, SPEED_HEADER, gpu_markdown, parity_cells, speed_cells
from u2net.benchmarks.gpu.report import GpuReport, write_gpu_report
from u2net.benchmarks.gpu.scrubbing import make_scrubber
from u2net.benchmarks.gpu.suite import SuiteResult
from u2net.benchmarks.gpu.targets import judge_targets
from u2net.benchmarks.machine import Machine

MakeRow = Callable[..., Row]
ERROR = "opening: EngineGpuError: compute capability 9.0 | is not supported\nsecond line"


@pytest.fixture
def report(make_row: MakeRow) -> GpuReport:
    """An H200 on which the engine won at batch 1 and was refused at batch 32."""
    parities = (Parity("photographs", 4, 0.9995, 2e-4, 0.01), Parity("scenes", 8, 0.9999, 1e-4, 0.005))
    rows = (
        make_row(5.0, title="eager FP32", ratio=1.0),
        make_row(0.5, tensorrt=True, ratio=10.0, parity=parities, memory_mb=512.4, share=Share(0.296, 0.135)),
        make_row(80.0, title="eager FP32", batch=32, ratio=1.0),
        make_row(None, tensorrt=True, batch=32, error=ERROR, warnings=("no CUDA graph",)),
    )
    pythons: dict[str, dict[str, Any]] = {
        "this Python": {
            "python": "3.12.3",
            "versions": {"torch": "2.11"},
            "flavours": {},
            "broken": {"tensorrt": "odd"},
        },
        "the engines' Python": {"error": "cannot be started"},
    }
    layers: dict[str, dict[str, Any]] = {
        "u2net, tensorrt 8.6.1": {
            "where": "H200, (1, 3, 320, 320)",
            "summary": ["120 layers: 118 fp16, 2 fp32"],
            "total_ms": 0.51,
            "slowest": [{"layer": "stage1.conv", "ms": 0.02}],
            "layers": [],
        },
        "u2netp, tensorrt 8.6.1": {"error": "it did not open"},
    }
    tests = (
        SuiteResult("this Python", 3, 1, 2, ("a.test_b: differs\nby much",), ("no torch",)),
        SuiteResult("the engines' Python", note="not run: pytest is not installed"),
    )
    return GpuReport(
        finished=True,
        date="2026-11-22",
        gpu="NVIDIA H200",
        driver="driver 580",
        machine=Machine("Some Processor", 16, "Linux x86_64", "3.12.3", "NVIDIA H200", {"torch": "2.11"}),
        pythons=pythons,
        options=GpuOptions(),
        pictures="4 photographs",
        judged="photographs",
        weights={"u2net": "trained on the spot"},
        notes=("No TensorRT in this Python.",),
        rows=rows,
        targets=judge_targets(rows, "photographs"),
        tests=tests,
        layers=layers,
    )


def test_the_speed_of_a_row(report: GpuReport) -> None:
    cells = speed_cells(report.rows[1])

    assert cells == (
        *("TensorRT", "1", "0.500", "0.600", "2000.0", "10.00× (9.90–10.10)"),
        *("0.500", "0.600", "2000.0", "10.00× (9.90–10.10)", "512"),
    )
    assert len(cells) == len(SPEED_HEADER)


def test_a_row_that_did_not_run_says_so(report: GpuReport) -> None:
    cells = speed_cells(report.rows[3])

    assert cells[:3] == ("TensorRT", "32", "did not run")
    assert len(cells) == len(SPEED_HEADER)


def test_a_clock_that_was_not_measured_says_so(make_row: MakeRow) -> None:
    cells = speed_cells(make_row(5.0, device=None))

    assert cells[2:6] == ("not measured", "–", "–", "–")
    assert cells[6] == "5.000"


def test_the_parity_of_a_row(report: GpuReport) -> None:
    cells = parity_cells(report.rows[1])

    assert cells == (
        *("TensorRT", "1", "0.999500", "2.0e-04", "1.0e-02", "0.999900", "1.0e-04"),
        *("29.6%", "13.5%", "1.5"),
    )
    assert len(cells) == len(PARITY_HEADER)


def test_the_page_has_what_was_found(report: GpuReport) -> None:
    page = gpu_markdown(report)

    for words in (
        "# NVIDIA H200, 2026-11-22",
        "4 photographs; judged on the photographs",
        "Weights: trained on the spot.",
        "6741 images/s by arithmetic (790 TFLOP/s), 14828 images/s by the convolutions' traffic (4.3 TB/s)",
        "- this Python: Python 3.12.3, torch 2.11; tensorrt: odd",
        "- the engines' Python: cannot be started",
        "- No TensorRT in this Python.",
        "this Python: 3 passed, 1 failed, 2 skipped",
        "not run: pytest is not installed",
        "      by much",
        "120 layers: 118 fp16, 2 fp32",
        "| stage1.conv | 0.0200 |",
        "u2netp, tensorrt 8.6.1: it did not open",
        "| **met** | 10.00 × (9.90–10.10), TensorRT |",
    ):
        assert words in page
    assert "Not finished" not in page


def test_an_error_stands_whole_below_the_table(report: GpuReport) -> None:
    _, _, below = gpu_markdown(report).partition("## What did not run")

    assert "**TensorRT** (u2net at batch 32):" in below
    assert "      opening: EngineGpuError: compute capability 9.0 | is not supported\n      second line\n" in below
    assert "warned: no CUDA graph" in below


def test_every_line_of_a_table_has_the_same_cells(report: GpuReport) -> None:
    blocks = re.findall(r"(?:^\|.*\|\n)+", gpu_markdown(report), re.MULTILINE)

    assert len(blocks) == 4
    for block in blocks:
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_what_was_found_before_the_end_is_marked(report: GpuReport) -> None:
    assert "**Not finished**" in gpu_markdown(replace(report, finished=False))


def test_a_dry_run_is_not_taken_for_a_gpu(report: GpuReport) -> None:
    page = gpu_markdown(replace(report, gpu=None, layers={}, tests=()))

    assert page.startswith("# Dry run on a processor, Some Processor, 2026-11-22\n")
    assert "images/s by arithmetic" not in page
    assert "Not asked for." in page


def test_the_files_hold_the_figures_and_no_path_of_the_machine(report: GpuReport, tmp_path: Path) -> None:
    leak = f"{tmp_path}/scratch/u2net.engine and {Path.home()}/x cannot be opened"
    rows = (*report.rows, replace(report.rows[3], error=leak))
    scrub = make_scrubber(tmp_path / "scratch", ["/opt/trt86/python"])
    files = write_gpu_report(
        tmp_path / "out", "h200", replace(report, rows=rows), gpu_markdown(replace(report, rows=rows)), scrub
    )

    found = json.loads(files[0].read_text())
    assert [path.name for path in files] == ["h200.json", "h200.md"]
    assert found["rows"][1]["device"]["latency"]["median_ms"] == 0.5
    assert found["rows"][3]["error"] == ERROR
    assert found["rows"][4]["error"] == "<work>/u2net.engine and ~/x cannot be opened"
    assert found["targets"][2]["verdict"] == "met"
    for path in files:
        assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA GeForce RTX 4090", "geforce-rtx-4090"),
        ("NVIDIA", "gpu"),
        (None, "dry-run-cpu"),
    ],
)
def test_a_gpu_s_name_becomes_part_of_a_file_s(gpu: str | None, name: str) -> None:
    assert slug(gpu) == name
