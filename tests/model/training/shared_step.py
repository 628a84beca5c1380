"""Run by a test, alone or by torchrun: steps with batch norm in eval mode; losses and gradients to a file."""

import sys
from pathlib import Path

import torch
from torch import Tensor

from u2net.model.network import U2NETP
from u2net.model.training import Recipe, Stage, TrainOptions
from u2net.model.training.batches import Batches
from u2net.model.training.launching import launch_fabric
from u2net.model.training.learner import Learner
from u2net.model.training.pictures import Pictures


def main(folder: Path) -> None:
    """Write ``RANK.pt``."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images, masks = (torch.randint(0, 256, (16, bands, 32, 32), generator=generator).byte() for bands in (3, 1))
    recipe = Recipe(size=32, stages=(Stage(0.0, 32),), batch=8, learning_rate=1e-3)
    fabric = launch_fabric(TrainOptions(recipe=recipe))
    torch.manual_seed(1)
    learner = Learner(fabric, U2NETP(), recipe)
    batches = Batches(Pictures(images, masks), recipe, 0, fabric.device, fabric.global_rank, fabric.world_size)
    # Not augmented: what is random differs between the processes.
    batch = batches.pictures.take(batches.draw(1), fabric.device)
    terms, gradients = list[Tensor](), dict[str, Tensor]()
    for part, frozen in (("whole", 0), ("inner", 2), ("again", 0)):
        learner.freeze(frozen)
        learner.network.eval()
        terms.append(learner.gradients(batch))
        gradients |= {
            f"{part} {name}": each.grad for name, each in learner.network.named_parameters() if each.grad is not None
        }
    torch.save({"terms": torch.cat(terms), "gradients": gradients}, folder / f"{fabric.global_rank}.pt")


main(Path(sys.argv[1]))
