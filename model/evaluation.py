"""Scores of sessions on a folder of photographs with masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from u2net.model.dataset import Pair, check_sizes, read_mask
from u2net.model.metrics import SaliencyMeter, SaliencyScores
from u2net.runtime.artifact import Precision
from u2net.runtime.images import read_image
from u2net.runtime.preprocess import ByteArray, FloatArray
from u2net.runtime.session import Session

GAUSSIAN_WIDTH = 0.25
"""Standard deviation of the centred guess, as a share of height and of width."""


@dataclass(frozen=True)
class PictureScore:
    """The error of one picture's map."""

    pair: Pair
    mae: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on a data set."""

    model: Path | str
    """Its file, or a name if it has none."""
    scores: SaliencyScores
    pictures: tuple[PictureScore, ...]
    """Worst first."""
    precision: Precision | None = None
    """What it computed in; None if that is not known."""


def score_sessions(
    sessions: Sequence[Session], pairs: Sequence[Pair], progress: Callable[[str], None] = lambda _message: None
) -> tuple[Evaluation, ...]:
    """Score each session on a data set, under its file; see :func:`score_masks`."""
    evaluations = []
    for session in sessions:
        scored = score_masks(session.info.path, session, pairs, progress)
        evaluations.append(replace(scored, precision=session.info.precision))
    return tuple(evaluations)


def score_masks(
    model: Path | str,
    predict: Callable[[ByteArray], FloatArray],
    pairs: Sequence[Pair],
    progress: Callable[[str], None] = lambda _message: None,
) -> Evaluation:
    """Score a session, or another function from uint8 H×W×3 to float32 H×W in [0, 1], at each picture's own size.

    Raise InputError if a picture cannot be read, and DatasetError if a mask cannot or has another size.
    """
    meter = SaliencyMeter()
    pictures = []
    for number, pair in enumerate(pairs, 1):
        progress(f"scoring {Path(model).name}: picture {number} of {len(pairs)}")
        image, truth = read_image(pair.image), read_mask(pair)
        check_sizes(pair, image.shape[1::-1], truth.shape[::-1])
        mask = predict(image)
        meter.add(mask, truth)
        pictures.append(PictureScore(pair, float(np.abs(mask - truth.astype(np.float32) / 255).mean())))
    return Evaluation(model, meter.scores(), tuple(sorted(pictures, key=lambda each: each.mae, reverse=True)))


def centred_gaussian(image: ByteArray) -> FloatArray:
    """Return a blob in the middle of the image: a baseline that scores well because most subjects are centred."""
    height, width = image.shape[:2]
    rows, columns = (
        np.exp(-0.5 * (np.linspace(-0.5, 0.5, side) / GAUSSIAN_WIDTH) ** 2).astype(np.float32)
        for side in (height, width)
    )
    return np.asarray(rows[:, None] * columns[None, :], np.float32)
