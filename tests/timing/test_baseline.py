"""The suite against a stored report: our graph is faster than eager PyTorch, and gets no slower or less exact.

On a quiet machine this writes ``baseline.json`` anew::

    u2net bench --suite --networks u2netp --batches 1 --contestants onnxruntime-fp32 --name baseline -o tests/timing
"""

from pathlib import Path

import pytest

from u2net.benchmarks.suite.comparison import compare_reports
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.suite import run_suite
from u2net.benchmarks.writing import write_json

BASELINE = Path(__file__).with_name("baseline.json")

LEAST_CHANGE = 0.2
"""Loss of speed that fails: one machine's ratios move by a tenth from day to day."""


def test_our_graph_is_faster_than_eager_and_no_worse_than_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("u2net.benchmarks.suite.inputs.PICTURE_SIZES", ((32, 32),))
    monkeypatch.setattr("u2net.benchmarks.suite.suite._measure_ceilings", lambda _options: {})
    monkeypatch.setattr("u2net.benchmarks.suite.networks.make_plain_graph", lambda *_: None)  # nobody here opens it
    ours = ("onnxruntime-fp32",)
    options = SuiteOptions(networks=("u2netp",), batches=(1,), contestants=ours, rounds=8, callers=(), work=tmp_path)
    for _attempt in range(2):  # a change that is real is there twice
        report = run_suite(options)
        write_json(tmp_path / "new.json", report)
        changes = compare_reports(BASELINE, tmp_path / "new.json", least_change=LEAST_CHANGE)
        if not changes.found:
            break
    print(changes.note)

    assert changes.found == ()
    _eager, graph = report.rows
    assert graph.ratio is not None and graph.ratio.value > 1.2
