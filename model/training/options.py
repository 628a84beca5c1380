"""How to train, beside the recipe."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from u2net.model.network import VARIANTS
from u2net.model.training.recipes import Recipe, authors
from u2net.model.training.schedule import Budget
from u2net.runtime.device import Device
from u2net.runtime.errors import DeviceError, InputError


@dataclass(frozen=True)
class TrainOptions:
    """How to train; what has no word here, ``u2net train --help`` explains."""

    variant: str = "u2netp"
    recipe: Recipe = field(default_factory=lambda: authors("cpu"))
    epochs: int | None = None
    """Passes over the pictures; 100 where neither this nor ``minutes`` is given."""
    minutes: float | None = None
    """The whole training's, over all resumed runs; reading, compiling and validations do not count."""
    pause: float | None = None
    """Minutes after which this run stops, to be resumed; reading and compiling count."""
    seed: int = 0
    init: Path | None = None
    resume: bool = False
    val_fraction: float = 0.02
    """Share of the pictures that is held out."""
    device: str = "cpu"
    devices: int = 1

    def budget(self, steps_per_epoch: int) -> Budget:
        """What the training may take."""
        epochs = 100 if self.epochs is None and self.minutes is None else self.epochs
        return Budget(
            steps=None if epochs is None else epochs * steps_per_epoch,
            seconds=None if self.minutes is None else 60 * self.minutes,
        )

    def check(self) -> None:
        """Raise InputError or DeviceError where a value could not be used."""
        if self.variant not in VARIANTS:
            raise InputError(f"there is no variant {self.variant!r}; there are {', '.join(VARIANTS)}")
        self.recipe.check()
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"epochs must be at least 1; got {self.epochs}")
        for name, minutes in (("minutes", self.minutes), ("pause", self.pause)):
            if minutes is not None and not minutes > 0:
                raise InputError(f"{name} must be above 0; got {minutes}")
        if not 0 < self.val_fraction < 1:
            raise InputError(f"the validation fraction must be between 0 and 1; got {self.val_fraction}")
        if self.devices < 1:
            raise InputError(f"devices must be at least 1; got {self.devices}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"a seed is from 0 to 2⁶³ - 1; got {self.seed}")
        if self.init is not None and self.resume:
            raise InputError("resuming goes on with the weights of last.ckpt; leave out either --init or --resume")
        if self.recipe.stages[0].frozen and self.init is None and not self.resume:
            raise InputError("frozen stages stay as they are: give the weights that they are to have with --init")
        kind = Device.parse(self.device).kind
        if kind == "cuda" and not torch.cuda.is_available():
            raise DeviceError(f"{self.device} was asked for, but torch {torch.__version__} finds no CUDA device")
        if kind == "cpu" and self.recipe.precision == "16-mixed":
            raise InputError("16-mixed is for GPUs; on a processor take bf16-mixed or 32-true")
