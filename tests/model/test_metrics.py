import numpy as np
import numpy.typing as npt
import pytest

from u2net.model.metrics import SaliencyMeter

Mask = npt.NDArray[np.uint8]

TRUTH = np.array([[255, 255, 0, 0], [255, 255, 0, 0]], np.uint8)


def measure(*pairs: tuple[object, Mask]) -> tuple[float, float, float]:
    meter = SaliencyMeter()
    for prediction, truth in pairs:
        meter.add(np.array(prediction, np.float32), truth)
    scores = meter.scores()
    assert scores.pictures == len(pairs)
    return scores.mae, scores.max_f, scores.iou


def test_an_opposite_map() -> None:
    mae, max_f, iou = measure((1 - TRUTH / 255, TRUTH))

    # The best threshold is 0, where everything is object: precision 1/2, recall 1.
    assert (mae, iou) == pytest.approx((1, 0))
    assert max_f == pytest.approx(1.3 * 0.5 / (0.3 * 0.5 + 1))


def test_a_half_found_object() -> None:
    prediction = [[1, 0, 0, 0], [1, 0, 0, 0]]

    # Precision 1 and recall 1/2 beat threshold 0 with precision 1/2 and recall 1.
    assert measure((prediction, TRUTH)) == pytest.approx((2 / 8, 1.3 * 0.5 / (0.3 + 0.5), 2 / 4))


def test_a_faint_map_is_stretched_first() -> None:
    assert measure((0.2 + 0.2 * TRUTH / 255, TRUTH)) == pytest.approx((0, 1, 1))


def test_mae_and_iou_are_means_over_pictures() -> None:
    half = [[1, 0, 0, 0], [1, 0, 0, 0]]

    mae, _, iou = measure((TRUTH / 255, TRUTH), (half, TRUTH))

    assert (mae, iou) == pytest.approx((0.125, 0.75))


def test_max_f_takes_one_threshold_for_all_pictures() -> None:
    """Each picture is perfect at one threshold, but no threshold makes both perfect."""
    low = np.array([[0.4, 0.4, 0, 0], [0.4, 0.4, 0, 1.0]])
    truth = np.array([[255, 255, 0, 0], [255, 255, 0, 255]], np.uint8)
    high = np.array([[1, 1, 0.6, 0], [1, 1, 0.6, 0]])

    both = measure((low, truth), (high, TRUTH))[1]

    assert measure((low, truth))[1] == pytest.approx(1)
    assert measure((high, TRUTH))[1] == pytest.approx(1)
    precision, recall = 4 / 6, 1 / 5
    above = (1 + 1.3 * recall / (0.3 + recall)) / 2
    below = (1 + 1.3 * precision / (0.3 * precision + 1)) / 2
    assert both == pytest.approx(max(above, below))


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_flat_map_and_an_empty_truth_give_numbers(level: float) -> None:
    scores = measure((np.full((2, 4), level), TRUTH), (np.full((2, 4), level), np.zeros((2, 4), np.uint8)))

    assert np.isfinite(scores).all()
