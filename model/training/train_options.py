"""Options of a training."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from u2net.model.network import VARIANTS
from u2net.model.training.recipes import Recipe, authors
from u2net.runtime.device import CPU, Device
from u2net.runtime.errors import InputError
from u2net.runtime.kinds import check_options


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training; ``u2net train --help`` explains those that have no docstring here."""

    variant: str = "u2netp"
    recipe: Recipe = field(default_factory=authors)
    epochs: int | None = None
    """Number of passes over the pictures; 100 if neither this nor ``minutes`` is given."""
    minutes: float | None = None
    """Duration of the training over all its runs; reading, compiling and validations do not count."""
    pause: float | None = None
    """Minutes after which this run pauses; reading and compiling count."""
    seed: int = 0
    init: str | Path | None = None
    resume: bool = False
    val_fraction: float = 0.02
    """Share of the pictures that is held out for validation."""
    device: Device = CPU
    devices: int = 1

    @property
    def weights_name(self) -> str:
        return f"{self.variant}.safetensors"

    def progress(self, step: int, seconds: float, steps_per_epoch: int) -> float:
        """Return the share of the training, 0 to 1, that is done: of its epochs or of its minutes, the larger one."""
        epochs = 100 if self.epochs is None and self.minutes is None else self.epochs
        of_epochs = 0.0 if epochs is None else step / (epochs * steps_per_epoch)
        of_minutes = 0.0 if self.minutes is None else seconds / (60 * self.minutes)
        return min(1.0, max(of_epochs, of_minutes))

    def check(self) -> None:
        """Raise InputError for a value that cannot be used."""
        check_options(self, "the options of the training")
        if self.variant not in VARIANTS:
            raise InputError(f"there is no variant {self.variant!r}; there are {', '.join(VARIANTS)}")
        self.recipe.check()
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"epochs must be at least 1; got {self.epochs}")
        for name, minutes in (("minutes", self.minutes), ("pause", self.pause)):
            if minutes is not None and not 0 < minutes < math.inf:
                raise InputError(f"{name} must be above 0 and finite; got {minutes}")
        if not 0 < self.val_fraction < 1:
            raise InputError(f"the validation fraction must be between 0 and 1; got {self.val_fraction}")
        if self.devices < 1:
            raise InputError(f"devices must be at least 1; got {self.devices}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"a seed is from 0 to 2⁶³ - 1; got {self.seed}")
        if self.init is not None and self.resume:
            raise InputError("resuming takes the weights of last.ckpt; leave out either --init or --resume")
        if self.recipe.phases[0].frozen and self.init is None and not self.resume:
            raise InputError("frozen stages do not learn: give their weights with --init")
        if self.device.kind == "cpu" and self.recipe.precision == "16-mixed":
            raise InputError("16-mixed is for GPUs; on a processor take bf16-mixed or 32-true")
