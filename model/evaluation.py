"""Scores of checkpoints and model files on a folder of photographs with masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from u2net.model.checkpoint import load_checkpoint
from u2net.model.dataset import Pair, read_mask
from u2net.model.metrics import SaliencyMeter, SaliencyScores
from u2net.model.network import U2Net
from u2net.model.placing import full_fp32, place_network
from u2net.runtime.device import Device
from u2net.runtime.errors import DatasetError
from u2net.runtime.images import read_image
from u2net.runtime.loading import MODEL_SUFFIXES, load
from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import ByteArray, FloatArray, preprocess
from u2net.runtime.presets import PRESETS, Preset, find_preset

Predictor = Callable[[ByteArray], FloatArray]
"""Image, uint8 H×W×3, to mask, float32 H×W in [0, 1]."""

CPU = Device("cpu")

GAUSSIAN_WIDTH = 0.25
"""Standard deviation of the centred guess, as a share of height and of width."""


@dataclass(frozen=True)
class PictureScore:
    """How well one picture was met."""

    pair: Pair
    mae: float


@dataclass(frozen=True)
class Evaluation:
    """A model on a data set."""

    model: str
    scores: SaliencyScores
    pictures: tuple[PictureScore, ...]
    """Worst first."""


def score_predictor(model: str, predict: Predictor, pairs: Sequence[Pair]) -> Evaluation:
    """Score a predictor at each picture's own size.

    Raises:
        InputError: a picture cannot be read.
        DatasetError: a mask cannot be read, or is of another size than its picture.
    """
    meter = SaliencyMeter()
    pictures = []
    for pair in pairs:
        image, truth = read_image(pair.image), read_mask(pair)
        if truth.shape != image.shape[:2]:
            raise DatasetError(f"{pair.mask} is {truth.shape}, its picture {image.shape[:2]} pixels high and wide")
        mask = predict(image)
        meter.add(mask, truth)
        pictures.append(PictureScore(pair, float(np.abs(mask - truth.astype(np.float32) / 255).mean())))
    return Evaluation(model, meter.scores(), tuple(sorted(pictures, key=lambda each: each.mae, reverse=True)))


def open_predictor(path: Path, device: str, preset: str | None = None) -> Predictor:
    """A checkpoint in eager PyTorch, or a model file in the runtime.

    Args:
        preset: contract that the images are prepared by; None takes a model file's own, and ``reference`` for a
            checkpoint.

    Raises:
        CheckpointError, ArtifactError, DeviceError, DependencyError: the file cannot be opened or run.
    """
    if path.suffix.lower() in MODEL_SUFFIXES:
        return load(path, device, preset=preset).__call__
    chosen = find_preset(preset) if preset else PRESETS["reference"]
    return eager_predictor(load_checkpoint(path).network, chosen, Device.parse(device))


def eager_predictor(network: U2Net, preset: Preset, device: Device = CPU) -> Predictor:
    """The network in eager PyTorch, TF32 off, fed as the preset says."""
    network.eval()
    place = place_network(network, device)

    def predict(image: ByteArray) -> FloatArray:
        with torch.inference_mode(), full_fp32():
            maps = network(torch.from_numpy(preprocess(image, preset)).to(place)).d0.cpu().numpy()
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
