"""Covers export/parity/figures.py and tolerances.py."""

import numpy as np
import pytest

from u2net.export.parity.figures import Comparison, ComparisonMeter, Spread, SpreadMeter, Worst, to_logits
from u2net.export.parity.gate import judge_figures
from u2net.export.parity.tolerances import FEW_PIXELS, Tolerance, find_tolerance

SAME = Comparison("mask", Spread(Worst(0, ""), 0, Worst(0, "")), None, 1, 0, Worst(0, ""))
LIMITS = Tolerance(largest=0.1, mean=0.05, logit_mean=1.0, iou=0.9, mask_largest=0.1, mask_mean=0.05)


def _map(*values: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_spread_names_the_worst_image() -> None:
    meter = SpreadMeter()
    meter.add("first", _map(0, 0.5), _map(0, 0.25))
    meter.add("second", _map(1, 1), _map(1, 0.5))
    spread = meter.spread()
    assert (spread.largest.value, spread.largest.image) == (0.5, "second")
    assert spread.mean == pytest.approx(0.75 / 4)


def test_percentile_leaves_single_pixels_out() -> None:
    meter = SpreadMeter()
    candidate = np.zeros(10_000, np.float32)
    candidate[:5] = 1
    meter.add("image", np.zeros(10_000, np.float32), candidate)
    assert meter.spread().largest.value == 1
    assert meter.spread().p999.value == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_values_are_infinite_differences(value: float) -> None:
    meter = ComparisonMeter("d0")
    meter.add("image", _map(0.5, 0.5), _map(0.5, value), overlap=True)
    comparison = meter.comparison()
    assert comparison.probability.largest.value == np.inf
    assert comparison.nonfinite.value == 1
    figures = {failure.figure for failure in judge_figures([comparison], SAME, LIMITS)}
    assert "number of NaN and Inf values" in figures


def test_iou_is_pooled_over_pixels() -> None:
    meter = ComparisonMeter("d0")
    meter.add("large", _map(*[1] * 90), _map(*[1] * 90), overlap=True)
    meter.add("small", _map(*[1] * 10), _map(*[0] * 10), overlap=True)
    assert meter.comparison().iou == pytest.approx(0.9)


@pytest.mark.parametrize(("flipped", "failed"), [(FEW_PIXELS, False), (FEW_PIXELS + 1, True)])
def test_few_pixels_of_a_small_object_may_change_sides(flipped: int, failed: bool) -> None:
    reference, candidate = np.full(20, 0.51, np.float32), np.full(20, 0.51, np.float32)
    candidate[:flipped] = 0.49
    meter = ComparisonMeter("d0")
    meter.add("image", reference, candidate, overlap=True)

    comparison = meter.comparison()

    assert comparison.flipped == flipped
    assert comparison.iou < LIMITS.iou
    assert [failure.figure for failure in judge_figures([comparison], SAME, LIMITS)] == ["IoU"] * failed


def test_two_empty_masks_are_equal() -> None:
    meter = ComparisonMeter("d0")
    meter.add("empty", _map(0, 0.1), _map(0.1, 0), overlap=True)
    assert meter.comparison().iou == 1


def test_hard_inputs_do_not_count_into_the_iou() -> None:
    meter = ComparisonMeter("d0")
    meter.add("noise", _map(0.51), _map(0.49), overlap=False)
    assert meter.comparison().iou == 1
    assert meter.comparison().probability.largest.value == pytest.approx(0.02, abs=1e-6)


def test_logits_invert_the_sigmoid_and_are_clipped() -> None:
    logits = np.array([-3, 0, 2.5], np.float32)
    assert to_logits((1 / (1 + np.exp(-logits))).astype(np.float32)) == pytest.approx(logits, abs=1e-5)
    assert np.abs(to_logits(_map(0, 1))).max() < 9.22


def test_figure_at_its_limit_passes_and_over_it_fails() -> None:
    for difference, failed in ((0.125, False), (0.25, True)):
        meter = ComparisonMeter("mask", logits=False)
        meter.add("image", _map(0.5, *[0.5] * 99), _map(0.5 + difference, *[0.5] * 99), overlap=False)
        limits = Tolerance(largest=0, mean=0, logit_mean=0, iou=0.9, mask_largest=0.125, mask_mean=0.05)
        assert bool(judge_figures([], meter.comparison(), limits)) is failed


def test_promised_limits_stand() -> None:
    fp32, on_gpu = find_tolerance("fp32", "cpu"), find_tolerance("fp32", "cuda")
    assert (fp32.largest, fp32.mean) == (5e-5, 3e-7)
    assert (on_gpu.largest, on_gpu.mean) == (1e-4, 1e-6)
    for kind in ("cpu", "cuda"):
        fp16, int8 = find_tolerance("fp16", kind), find_tolerance("int8", kind)
        assert (fp16.iou, fp16.mean) == (0.997, 1e-3)
        assert (int8.iou, int8.mean) == (0.95, 1e-2)
