import numpy as np
import pytest

from u2net.benchmarks.statistics import Ratio, compare, summarize


def test_percentiles_of_ten_times() -> None:
    seconds = [index / 1000 for index in (7, 3, 10, 1, 4, 9, 2, 8, 5, 6)]

    latency = summarize(seconds)

    assert latency.median_ms == pytest.approx(5.5)
    assert latency.p90_ms == pytest.approx(9.1)
    assert latency.p99_ms == pytest.approx(9.91)


@pytest.mark.parametrize(
    ("reference", "candidate", "ratio"),
    [
        ([4, 2, 6], [1, 2, 3], 2.0),  # the mean of the three ratios would be 2.33
        ([2, 4], [1, 1], 3.0),
        ([1, 1, 100], [2, 2, 2], 0.5),
        ([0.3], [0.1], 3.0),
    ],
)
def test_the_ratio_is_of_the_medians(reference: list[float], candidate: list[float], ratio: float) -> None:
    assert compare(reference, candidate).value == pytest.approx(ratio)


def test_a_model_is_exactly_as_fast_as_itself() -> None:
    times = np.random.default_rng(3).lognormal(sigma=0.5, size=11).tolist()

    assert compare(times, times) == Ratio(1.0, 1.0, 1.0)


def test_rounds_are_resampled_as_pairs() -> None:
    drift = np.random.default_rng(4).lognormal(sigma=0.8, size=15)
    reference, candidate = (2 * drift).tolist(), drift.tolist()

    paired, torn = compare(reference, candidate), compare(reference, candidate[::-1])

    assert [paired.low, paired.high] == pytest.approx([2, 2])
    assert torn.value == pytest.approx(2)
    assert torn.high - torn.low > 0.5


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng, truth, held = np.random.default_rng(5), 1.8, 0
    for _ in range(100):
        drift = rng.lognormal(sigma=0.3, size=20)
        times = drift * rng.lognormal(sigma=0.1, size=(2, 20))
        ratio = compare((truth * times[0]).tolist(), times[1].tolist())
        held += ratio.low <= truth <= ratio.high

    assert 88 <= held <= 100


def test_more_rounds_narrow_the_interval() -> None:
    times = np.random.default_rng(7).lognormal(sigma=0.3, size=(2, 400))

    few, many = (compare(times[0, :count].tolist(), times[1, :count].tolist()) for count in (8, 400))

    assert many.high - many.low < (few.high - few.low) / 2


def test_the_same_times_give_the_same_interval() -> None:
    times = np.random.default_rng(8).lognormal(size=(2, 9)).tolist()

    assert compare(*times) == compare(*times)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (Ratio(1.0, 0.9, 1.1), "tie (0.90–1.10)"),
        (Ratio(1.2, 1.0, 1.3), "tie (1.00–1.30)"),
        (Ratio(1.2, 1.1, 1.3), "1.20× (1.10–1.30)"),
        (Ratio(0.8, 0.7, 0.9), "0.80× (0.70–0.90)"),
        (Ratio(1.0, 1.0, 1.0), "1"),
    ],
)
def test_an_interval_that_includes_1_is_a_tie(ratio: Ratio, words: str) -> None:
    assert str(ratio) == words
