"""Program that a test runs alone or by torchrun: writes losses and gradients of steps with batch norm in eval mode."""

import sys
from pathlib import Path

import torch
from torch import Tensor

from u2net.model.network import U2NETP
from u2net.model.training import Phase, Recipe, TrainOptions
from u2net.model.training.batches import Batches
from u2net.model.training.decoded_pairs import DecodedPairs
from u2net.model.training.learner import Learner
from u2net.model.training.start import launch_fabric


def main(folder: Path) -> None:
    """Write ``RANK.pt``."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images, masks = (torch.randint(0, 256, (16, bands, 32, 32), generator=generator).byte() for bands in (3, 1))
    recipe = Recipe(size=32, phases=(Phase(0.0, 32),), batch=8, learning_rate=1e-3)
    fabric = launch_fabric(TrainOptions(recipe=recipe))
    torch.manual_seed(1)
    learner = Learner(fabric, U2NETP(), recipe)
    batches = Batches(DecodedPairs(images, masks), recipe, 0, fabric.device, fabric.global_rank, fabric.world_size)
    # Without augmentation, because its random numbers differ between the processes.
    batch = batches.pairs.take(batches.draw(1), fabric.device)
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
