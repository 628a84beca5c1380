"""How far a training is, and the learning rate there."""

import math
from dataclasses import dataclass

from u2net.model.training.recipes import Recipe


@dataclass(frozen=True)
class Budget:
    """What a training may take; what is used up first ends it."""

    steps: int | None
    seconds: float | None

    def progress(self, step: int, seconds: float) -> float:
        """Share, 0 to 1, that so many steps and seconds are of it."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(step / self.steps)
        if self.seconds is not None:
            shares.append(seconds / self.seconds)
        return min(1.0, max(shares))


FIRST = 0.05
"""Share of the rate that the first step of a warm-up takes: at a rate of zero it would learn nothing."""


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Of a step at whose begin that share of the training is done."""
    rise = min(1.0, FIRST + (1 - FIRST) * progress / recipe.warmup) if recipe.warmup else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * progress)) if recipe.annealed else 1.0
    return recipe.learning_rate * rise * fall
