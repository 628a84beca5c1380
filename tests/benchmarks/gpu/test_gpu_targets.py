from collections.abc import Callable

import pytest

from tests.benchmarks.gpu.conftest import make_timing
from u2net.benchmarks.gpu.figures import Parity, Row
from u2net.benchmarks.gpu.targets import Target, judge_targets

MakeRow = Callable[..., Row]
JUDGED = "photographs"


def find(rows: list[Row], *words: str) -> Target:
    """The one target whose text has all the words."""
    (target,) = (each for each in judge_targets(rows, JUDGED) if all(word in each.what for word in words))
    return target


@pytest.mark.parametrize(("median", "verdict"), [(1.999, "met"), (2.0, "missed"), (2.5, "missed")])
@pytest.mark.parametrize("clock", ["device", "wall"])
def test_ahead_means_quicker_than_the_quickest(make_row: MakeRow, median: float, verdict: str, clock: str) -> None:
    rows = [make_row(5.0), make_row(2.0, title="compiled"), make_row(median, tensorrt=True)]
    target = find(rows, "ahead", clock)

    assert target.verdict == verdict
    assert "× compiled" in target.found


def test_ahead_takes_the_best_of_the_engines(make_row: MakeRow) -> None:
    rows = [make_row(2.0), make_row(3.0, tensorrt=True), make_row(1.0, tensorrt=True)]

    assert find(rows, "ahead", "device").verdict == "met"


def test_one_lost_cell_misses_and_is_named_first(make_row: MakeRow) -> None:
    rows = [
        *(make_row(2.0), make_row(1.0, tensorrt=True)),
        *(make_row(2.0, batch=8), make_row(4.0, tensorrt=True, batch=8)),
    ]
    target = find(rows, "ahead", "device")

    assert target.verdict == "missed"
    assert target.found.startswith("u2net at batch 8: 0.50 × eager (4.000 and 2.000 ms)")


def test_a_cell_without_an_engine_leaves_it_open(make_row: MakeRow) -> None:
    rows = [make_row(2.0), make_row(1.0, tensorrt=True), make_row(2.0, batch=8), make_row(None, tensorrt=True, batch=8)]
    target = find(rows, "ahead", "device")

    assert target.verdict == "not measured"
    assert target.found.endswith("not measured: u2net at batch 8")


def test_the_clocks_are_judged_apart(make_row: MakeRow) -> None:
    """Ahead on the GPU, behind once the copies count."""
    rows = [make_row(2.0), make_row(1.0, tensorrt=True, wall=make_timing(3.0))]

    assert find(rows, "ahead", "device").verdict == "met"
    assert find(rows, "ahead", "wall").verdict == "missed"


@pytest.mark.parametrize(("ratio", "verdict"), [(5.0, "met"), (4.999, "missed"), (None, "not measured")])
def test_the_speedup_of_u2net(make_row: MakeRow, ratio: float | None, verdict: str) -> None:
    rows = [make_row(5.0), make_row(1.0, tensorrt=True, ratio=ratio)]

    assert find(rows, "5 × eager", "device").verdict == verdict


def test_the_speedup_of_another_network_or_batch_does_not_count(make_row: MakeRow) -> None:
    rows = [make_row(1.0, tensorrt=True, network="u2netp", ratio=9.0), make_row(1.0, tensorrt=True, batch=8, ratio=9.0)]

    assert find(rows, "5 × eager", "device").verdict == "not measured"


@pytest.mark.parametrize(("median", "verdict"), [(32 / 3.0, "met"), (32 / 2.999, "missed")])
def test_the_throughput_of_u2net(make_row: MakeRow, median: float, verdict: str) -> None:
    rows = [make_row(median, tensorrt=True, batch=32)]

    assert find(rows, "3000 images/s", "device").verdict == verdict


def parity(iou: float, mean: float, pictures: str = JUDGED) -> Parity:
    return Parity(pictures, 4, iou, mean, 0.1)


@pytest.mark.parametrize(("iou", "verdict"), [(0.999, "met"), (0.99899, "missed")])
def test_the_overlap(make_row: MakeRow, iou: float, verdict: str) -> None:
    rows = [make_row(tensorrt=True, parity=(parity(iou, 0.0),))]

    assert find(rows, "IoU").verdict == verdict


@pytest.mark.parametrize(("mean", "verdict"), [(1e-3, "met"), (1.01e-3, "missed"), (float("inf"), "missed")])
def test_the_mean_difference(make_row: MakeRow, mean: float, verdict: str) -> None:
    rows = [make_row(tensorrt=True, parity=(parity(1.0, mean),))]

    assert find(rows, "mean difference").verdict == verdict


def test_the_worst_engine_on_the_judged_pictures_counts(make_row: MakeRow) -> None:
    rows = [
        make_row(tensorrt=True, parity=(parity(1.0, 0.0), parity(0.5, 0.5, "scenes"))),
        make_row(tensorrt=True, batch=8, parity=(parity(0.99, 2e-3),)),
        make_row(parity=(parity(0.1, 0.9),)),
    ]

    assert find(rows, "IoU").found == "0.990000, TensorRT at batch 8"
    assert find(rows, "mean difference").found == "2.00e-03, TensorRT at batch 8"


def test_an_untrained_network_is_not_judged(make_row: MakeRow) -> None:
    rows = [make_row(tensorrt=True, parity_note="untrained: latency alone")]

    assert find(rows, "IoU") == Target(find(rows, "IoU").what, "not measured", "untrained: latency alone")


def test_each_network_is_judged_by_itself(make_row: MakeRow) -> None:
    rows = [
        make_row(tensorrt=True, parity=(parity(1.0, 0.0),)),
        make_row(tensorrt=True, network="u2netp", parity=(parity(0.9, 0.1),)),
    ]

    assert find(rows, "u2net,", "IoU").verdict == "met"
    assert find(rows, "u2netp,", "IoU").verdict == "missed"


def test_without_rows_nothing_is_measured() -> None:
    assert {target.verdict for target in judge_targets([], JUDGED)} == {"not measured"}
