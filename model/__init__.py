"""U²-Net: the networks, their loss, their checkpoints and their training."""

from u2net.model.checkpoint import Checkpoint, load_checkpoint, save_weights
from u2net.model.loss import FusionLoss, bce_fusion
from u2net.model.network import OUTPUT_NAMES, U2NET, U2NETP, NetworkOutputs, U2Net
from u2net.model.weights import BUNDLED_WEIGHTS

__all__ = [
    "BUNDLED_WEIGHTS",
    "OUTPUT_NAMES",
    "U2NET",
    "U2NETP",
    "Checkpoint",
    "FusionLoss",
    "NetworkOutputs",
    "U2Net",
    "bce_fusion",
    "load_checkpoint",
    "save_weights",
]
