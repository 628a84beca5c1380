"""Scores of a checkpoint on a folder of photographs with masks, beside a guess that does not look at them.

``python -m u2net.model.evaluation CHECKPOINT FOLDER`` prints both as JSON.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from u2net.model.checkpoint import load_checkpoint
from u2net.model.dataset import Pair, find_pairs
from u2net.model.metrics import SaliencyMeter, SaliencyScores
from u2net.model.network import U2Net
from u2net.runtime.images import read_image
from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import ByteArray, FloatArray, preprocess
from u2net.runtime.presets import PRESETS, Preset

Predictor = Callable[[ByteArray], FloatArray]
"""Image, uint8 H×W×3, to mask, float32 H×W in [0, 1]."""

GAUSSIAN_WIDTH = 0.25
"""Standard deviation of the centred guess, as a share of height and of width."""


def evaluate(predict: Predictor, pairs: Sequence[Pair]) -> SaliencyScores:
    """Score a predictor at each picture's own size.

    Raises:
        InputError: a picture cannot be read.
    """
    meter = SaliencyMeter()
    for pair in pairs:
        image = read_image(pair.image)
        with Image.open(pair.mask) as mask:
            truth = np.array(mask.convert("L"))
        meter.add(predict(image), truth)
    return meter.scores()


def eager_predictor(network: U2Net, preset: Preset) -> Predictor:
    """The network in eager PyTorch on the CPU, fed as the preset says."""

    def predict(image: ByteArray) -> FloatArray:
        with torch.inference_mode():
            maps = network(torch.from_numpy(preprocess(image, preset))).d0.numpy()
        return postprocess(maps[0], preset, *image.shape[:2])

    return predict


def centred_gaussian(image: ByteArray) -> FloatArray:
    """A blob in the middle whatever the image: photographers centre their subjects, so it is no empty guess."""
    height, width = image.shape[:2]
    rows, columns = (
        np.exp(-0.5 * (np.linspace(-0.5, 0.5, side) / GAUSSIAN_WIDTH) ** 2).astype(np.float32)
        for side in (height, width)
    )
    return np.asarray(rows[:, None] * columns[None, :], np.float32)


if __name__ == "__main__":
    found = find_pairs(Path(sys.argv[2]))
    reference = eager_predictor(load_checkpoint(sys.argv[1]).network, PRESETS["reference"])
    scores = {"checkpoint": evaluate(reference, found), "centred Gaussian": evaluate(centred_gaussian, found)}
    print(json.dumps({name: asdict(score) for name, score in scores.items()}, indent=2))
