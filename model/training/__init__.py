"""Training with seven-way deep supervision: from a folder of photographs with masks to weights.

``start`` checks everything and builds the parts, ``loop`` runs them, and each other module is one of the parts.
"""

from u2net.model.training.loop import TrainResult
from u2net.model.training.recipes import Phase, Recipe, find_recipe
from u2net.model.training.start import train_network
from u2net.model.training.step_log import StatusCallback, TrainStatus
from u2net.model.training.train_options import TrainOptions

__all__ = [
    "Phase",
    "Recipe",
    "StatusCallback",
    "TrainOptions",
    "TrainResult",
    "TrainStatus",
    "find_recipe",
    "train_network",
]
