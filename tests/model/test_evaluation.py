from pathlib import Path

import numpy as np
import pytest

from u2net.model.checkpoint import Checkpoint
from u2net.model.dataset import find_pairs
from u2net.model.evaluation import centred_gaussian, eager_predictor, evaluate
from u2net.model.synthetic import make_scene, write_scenes
from u2net.runtime.preprocess import ByteArray, FloatArray
from u2net.runtime.presets import PRESETS


def test_perfect_and_opposite_predictions_score_as_they_must(tmp_path: Path) -> None:
    write_scenes(tmp_path, 3, seed=1, size=64)
    truths = iter([make_scene(seed, 64, 64)[1] for seed in (1, 2, 3)] * 2)

    def perfect(_image: ByteArray) -> FloatArray:
        return (next(truths) / 255).astype(np.float32)

    def opposite(image: ByteArray) -> FloatArray:
        return 1 - perfect(image)

    best, worst = evaluate(perfect, find_pairs(tmp_path)), evaluate(opposite, find_pairs(tmp_path))
    assert (best.mae, best.max_f, best.iou) == pytest.approx((0, 1, 1))
    assert (worst.mae, worst.iou) == pytest.approx((1, 0))


def test_guess_is_a_blob_in_the_middle() -> None:
    guess = centred_gaussian(np.zeros((41, 61, 3), np.uint8))
    assert guess.shape == (41, 61)
    assert guess.argmax() == 20 * 61 + 30
    assert guess.max() == 1 and guess[0, 0] < 0.05


def test_network_is_scored_at_the_pictures_own_size(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, seed=1, size=80)
    scores = evaluate(eager_predictor(checkpoint.network, PRESETS["reference"].with_size(64, 64)), find_pairs(tmp_path))
    assert scores.pictures == 2
    assert 0 < scores.mae < 1
