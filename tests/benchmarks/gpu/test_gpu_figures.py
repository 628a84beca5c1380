import numpy as np
import pytest

from u2net.benchmarks.gpu.ceilings import ceilings, find_peak, share_of_ceilings
from u2net.benchmarks.gpu.figures import time_figures
from u2net.benchmarks.gpu.likeness import compare_maps, why_unfit
from u2net.runtime.preprocess import FloatArray

H200 = "NVIDIA H200"


def test_percentiles_are_of_all_runs_of_all_turns() -> None:
    timing = time_figures([[0.010, 0.020], [0.030], [0.040, 0.050]], None, batch=8)

    assert timing is not None
    assert timing.latency.median_ms == pytest.approx(30)
    assert timing.latency.p99_ms == pytest.approx(49.6)
    assert timing.images_per_second == pytest.approx(8 / 0.030)
    assert (timing.rounds, timing.runs, timing.ratio) == (3, 5, None)


def test_a_ratio_is_of_the_medians_of_turns() -> None:
    """A turn of many runs weighs as much as one of few."""
    timing = time_figures([[0.001] * 9, [0.003]], [[0.010], [0.010]], batch=1)

    assert timing is not None and timing.ratio is not None
    assert timing.ratio.value == pytest.approx(0.010 / 0.002)
    assert timing.ratio.low <= timing.ratio.value <= timing.ratio.high


def test_a_turn_that_only_one_of_the_two_took_is_left_out_of_the_ratio() -> None:
    timing = time_figures([[0.001], [0.001]], [[0.002], [0.002], [0.9]], batch=1)

    assert timing is not None and timing.ratio is not None
    assert timing.ratio.value == pytest.approx(2)


@pytest.mark.parametrize("reference", [None, [], [[0.1]]])
def test_without_two_turns_in_common_there_is_no_ratio(reference: list[list[float]] | None) -> None:
    timing = time_figures([[0.1], [0.1]], reference, batch=1)

    assert timing is not None and timing.ratio is None


def test_without_runs_there_are_no_figures() -> None:
    assert time_figures([], [[0.1]], batch=1) is None


def test_the_ceilings_of_an_h200() -> None:
    """0.15 ms and 0.05 ms of arithmetic an image, 290 MB and 205 MB of traffic."""
    peak = find_peak(H200)

    assert peak is not None
    assert ceilings("u2net", peak) == pytest.approx((6700, 14_800), rel=0.01)
    assert ceilings("u2netp", peak) == pytest.approx((20_000, 20_976), rel=0.01)


def test_a_share_is_of_both_ceilings() -> None:
    share = share_of_ceilings("u2net", 320, H200, 3370.3)

    assert share is not None
    assert share.arithmetic == pytest.approx(0.5, rel=0.001)
    assert share.traffic == pytest.approx(3370.3 * 290e6 / 4.3e12)


@pytest.mark.parametrize(("size", "gpu"), [(64, H200), (320, "NVIDIA GeForce RTX 4090"), (320, None)])
def test_no_ceiling_is_made_up(size: int, gpu: str | None) -> None:
    assert share_of_ceilings("u2net", size, gpu, 100) is None


def maps(*values: float) -> FloatArray:
    """A map of each value, 2×2."""
    return np.array(values, np.float32)[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32)


def test_parity_is_pooled_over_the_pictures() -> None:
    parity = compare_maps("photographs", maps(0.9, 0.9, 0.1, 0.6), maps(0.9, 0.8, 0.1, 0.4))

    assert (parity.pictures, parity.count) == ("photographs", 4)
    assert parity.iou == pytest.approx(2 / 3)
    assert parity.mean == pytest.approx(0.3 / 4)
    assert parity.largest == pytest.approx(0.2)


def test_nan_is_an_infinite_difference() -> None:
    assert compare_maps("photographs", maps(0.9), maps(float("nan"))).mean == float("inf")


@pytest.mark.parametrize(("low", "high", "fits"), [(0.05, 0.95, True), (0.15, 0.95, False), (0.05, 0.85, False)])
def test_a_reference_must_span_enough(low: float, high: float, fits: bool) -> None:
    assert (why_unfit(maps(low, high)) == "") == fits
