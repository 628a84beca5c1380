"""Scores on the pictures that were held out."""

import numpy as np
import torch

from u2net.model.metrics import SaliencyMeter, SaliencyScores
from u2net.model.network import U2Net
from u2net.model.placing import full_fp32
from u2net.model.training.batches import normalize_batch
from u2net.model.training.pictures import Pictures
from u2net.runtime.errors import TrainingError

BATCH = 8


def validate(network: U2Net, pictures: Pictures, device: torch.device) -> SaliencyScores:
    """Score a network on whole pictures in FP32; it is left in the mode it was in.

    Raises:
        TrainingError: it gives NaN or Inf.
    """
    training = network.training
    network.eval()
    meter = SaliencyMeter()
    for indices in torch.arange(len(pictures)).split(BATCH):  # type: ignore[no-untyped-call]
        images, masks = pictures.take(indices, device)
        with torch.inference_mode(), full_fp32():
            maps = network(normalize_batch(images)).d0[:, 0].cpu().numpy()
        if not np.isfinite(maps).all():
            raise TrainingError("the network gives NaN or Inf: the training diverged")
        truths = (masks[:, 0] * 255).round().to(torch.uint8).cpu().numpy()
        for one_map, truth in zip(maps, truths, strict=True):
            meter.add(one_map, truth)
    network.train(training)
    return meter.scores()
