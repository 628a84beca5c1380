"""Covers model/evaluation.py and contact_sheet.py."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.scenes import write_scenes
from u2net.model.checkpoint import Checkpoint
from u2net.model.contact_sheet import CAPTION, CELL, draw_contact_sheet
from u2net.model.dataset import find_pairs
from u2net.model.evaluation import centred_gaussian, score_masks
from u2net.model.opening import open_session
from u2net.model.synthetic import make_scene
from u2net.runtime.device import Device
from u2net.runtime.errors import DatasetError
from u2net.runtime.preprocess import ByteArray, FloatArray


def truths(seeds: tuple[int, ...]) -> Iterator[FloatArray]:
    return iter([(make_scene(seed, 64, 64)[1] / 255).astype(np.float32) for seed in seeds])


def perfect(seeds: tuple[int, ...], *, upside: bool = False) -> Callable[[ByteArray], FloatArray]:
    """A model that returns the true masks of these scenes in turn, or their opposites."""
    masks = truths(seeds)
    return lambda _image: 1 - next(masks) if upside else next(masks)


def test_perfect_and_opposite_predictions_score_as_they_must(tmp_path: Path) -> None:
    write_scenes(tmp_path, 3, seed=1, size=64)
    pairs = find_pairs(tmp_path)

    best = score_masks("best", perfect((1, 2, 3)), pairs).scores
    worst = score_masks("worst", perfect((1, 2, 3), upside=True), pairs).scores

    assert (best.mae, best.max_f, best.iou, best.boundary_f) == pytest.approx((0, 1, 1, 1))
    assert (best.weighted_f, best.s_measure) == pytest.approx((1, 1), abs=1e-3)
    assert (worst.mae, worst.iou) == pytest.approx((1, 0))
    assert max(worst.mean_f, worst.weighted_f, worst.e_measure, worst.s_measure) < 0.5


def test_pictures_come_worst_first(tmp_path: Path) -> None:
    write_scenes(tmp_path, 3, seed=1, size=64)
    pairs = find_pairs(tmp_path)
    known = truths((1, 2, 3))
    share = iter((0.5, 0.0, 1.0))

    def half_right(_image: ByteArray) -> FloatArray:
        return next(known) * np.float32(next(share))

    found = score_masks("m", half_right, pairs).pictures

    assert [each.pair for each in found] == [pairs[1], pairs[0], pairs[2]]
    assert found[2].mae == 0


@pytest.mark.parametrize(("size", "says"), [((32, 64), "is 32×64, its picture 64×64"), (None, "cannot be read")])
def test_a_mask_of_another_size_or_damaged_is_named(tmp_path: Path, size: tuple[int, int] | None, says: str) -> None:
    write_scenes(tmp_path, 1, seed=1, size=64)
    pair = find_pairs(tmp_path)[0]
    pair.mask.write_bytes(b"no picture")
    if size is not None:
        Image.new("L", size).save(pair.mask)

    with pytest.raises(DatasetError, match=f"{pair.mask.name} {says}"):
        score_masks("m", centred_gaussian, [pair])


def test_guess_is_a_blob_in_the_middle() -> None:
    guess = centred_gaussian(np.zeros((41, 61, 3), np.uint8))
    assert guess.shape == (41, 61)
    assert guess.argmax() == 20 * 61 + 30
    assert guess.max() == 1 and guess[0, 0] < 0.05


def test_a_checkpoint_and_its_graph_score_alike(checkpoint: Checkpoint, small_onnx: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path, 3, seed=1, size=96)
    pairs = find_pairs(tmp_path)
    eager = score_masks("eager", open_session(checkpoint, Device("cpu"), size=(160, 160)), pairs).scores

    graph = score_masks("graph", open_session(small_onnx, Device("cpu")), pairs).scores

    for name, value in vars(eager).items():
        assert getattr(graph, name) == pytest.approx(value, abs=1e-4), name


def test_a_contact_sheet_shows_picture_truth_and_mask(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, seed=1, size=64)
    found = score_masks("m", perfect((1, 2), upside=True), find_pairs(tmp_path)).pictures

    draw_contact_sheet(found, centred_gaussian, tmp_path / "sheet.png")

    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * (CELL + CAPTION), 3 * CELL, 3)
    middle = CAPTION + CELL // 2
    assert sheet[middle, 2 * CELL + CELL // 2].min() > 200  # the guess is brightest in the middle
    assert np.ptp(sheet[CAPTION : CAPTION + CELL, :CELL]) > 50  # a picture, not a blank
