"""Training with seven-way deep supervision: a folder of photographs with masks to weights.

recipes        what the network sees and how it is optimised; named ones
options        seed, duration, devices
launching      the devices and processes
pictures       all pictures decoded once, on the device
augmentation   what is changed in them at random
composition    small objects in wide scenes, made of the pictures of a batch
batches        which pictures a step sees: a function of seed and step
schedule       how far a training is, and the learning rate there
muon           an optimizer that torch has for matrices only
average        the moving average of the weights
learner        one step: loss, gradients, optimizer, average
progress       log and speed
validation     scores on held-out pictures
state          the checkpoint to resume from
stopping       Ctrl-C and SIGTERM
loop           all of it together
"""

from u2net.model.training.loop import TrainResult, train
from u2net.model.training.options import TrainOptions
from u2net.model.training.progress import Report, Status
from u2net.model.training.recipes import RECIPES, Recipe, Stage, find_recipe

__all__ = ["RECIPES", "Recipe", "Report", "Stage", "Status", "TrainOptions", "TrainResult", "find_recipe", "train"]
