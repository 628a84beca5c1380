"""Recipes: all choices that decide the weights of a training, except seed and duration."""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Literal

import torch

from u2net.model.training.augmentation import AugmentationName
from u2net.runtime.artifact import STEP
from u2net.runtime.device import CPU, Device
from u2net.runtime.errors import InputError
from u2net.runtime.kinds import check_options

TrainPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]
OptimizerName = Literal["adam", "adamw", "muon"]

WARMUP_START = 0.05
"""Share of the learning rate at the first step of the warm-up; a rate of zero would waste the step."""

OLDEST_FOR_TRITON = (7, 0)
MOST_FROZEN = 5


@dataclass(frozen=True)
class Phase:
    """A part of the training with one crop size."""

    start: float
    """Progress of the training, from 0, at which the phase begins."""
    crop: int
    """Side of the network's input in pixels."""
    frozen: int = 0
    """Number of frozen outer stages of encoder and decoder; each inner stage learns from its own side map."""


@dataclass(frozen=True)
class Recipe:
    """What the network sees, and how it is optimised."""

    size: int
    """Side in pixels of the square that pictures are stretched to."""
    phases: tuple[Phase, ...]
    """Phases in order, the first at 0. A smaller crop is taken from pictures that are shrunk in proportion."""
    batch: int
    """Pictures per step over all devices."""
    learning_rate: float
    augmentation: AugmentationName = "crop-flip"
    optimizer: OptimizerName = "adam"
    weight_decay: float = 0.0
    annealed: bool = False
    """Whether the learning rate falls to zero along a cosine over the training; otherwise it is constant."""
    warmup: float = 0.0
    """Share of the training over which the learning rate rises."""
    ema: float | None = None
    """Decay of the exponential moving average that becomes the result; None makes the last weights the result."""
    precision: TrainPrecision = "32-true"
    compiled: bool = False
    """Whether network and loss go through ``torch.compile``."""

    @property
    def crop(self) -> int:
        """The largest crop."""
        return max(phase.crop for phase in self.phases)

    def phase_at(self, progress: float) -> Phase:
        """Return the phase at this progress, 0 to 1."""
        return next(phase for phase in reversed(self.phases) if phase.start <= progress)

    def phases_from(self, progress: float) -> tuple[Phase, ...]:
        """Return the present phase and those still to come."""
        return (self.phase_at(progress), *(phase for phase in self.phases if phase.start > progress))

    def side_of(self, crop: int) -> int:
        """Return the side that pictures are shrunk to before this crop is taken."""
        return max(crop, round(self.size * crop / self.crop))

    def learning_rate_at(self, progress: float) -> float:
        """Return the learning rate at this progress of the training, 0 to 1."""
        rise = min(1.0, WARMUP_START + (1 - WARMUP_START) * progress / self.warmup) if self.warmup else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * progress)) if self.annealed else 1.0
        return self.learning_rate * rise * fall

    def with_overrides(self, *, crop: int | None = None, frozen: int | None = None, **values: Any) -> "Recipe":
        """Return the recipe with every value that is not None in place of its own.

        ``crop`` merges all phases into one, ``frozen`` applies to every phase, and any other name is that of a field.
        """
        phases = self.phases if crop is None else (Phase(0.0, crop),)
        if frozen is not None:
            phases = tuple(replace(phase, frozen=frozen) for phase in phases)
        return replace(self, phases=phases, **{name: value for name, value in values.items() if value is not None})

    def check(self) -> None:
        """Raise InputError for a value that cannot be used."""
        check_options(self, "the recipe")
        for phase in self.phases:
            if not STEP <= phase.crop <= self.size:
                raise InputError(
                    f"crop {phase.crop} must be at least {STEP} and at most the size {self.size}; set both"
                )
            if not 0 <= phase.frozen <= MOST_FROZEN:
                raise InputError(f"0 to {MOST_FROZEN} of the six stages can be frozen; got {phase.frozen}")
        starts = [phase.start for phase in self.phases]
        if not starts or starts[0] != 0 or not all(earlier < later < 1 for earlier, later in pairwise(starts)):
            raise InputError(f"phases begin at 0 and in rising order below 1; they begin at {starts}")
        if self.batch < 2:
            raise InputError(f"batch norm needs a batch of at least 2 while training; got {self.batch}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"the learning rate must be above 0 and finite; got {self.learning_rate}")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight decay is at least 0 and finite; got {self.weight_decay}")
        if not 0 <= self.warmup < 1 or (self.ema is not None and not 0 < self.ema < 1):
            raise InputError(f"warm-up and EMA decay are shares below 1; got {self.warmup} and {self.ema}")


def authors(_device: Device = CPU) -> Recipe:
    """Return the recipe of the authors' training script: 320 px, crop 288, batch 12, Adam at a constant 1e-3."""
    return Recipe(size=320, phases=(Phase(0.0, 288),), batch=12, learning_rate=1e-3)


def fast(device: Device) -> Recipe:
    """Return the recipe for the best weights in a given time.

    A GPU sees large batches in BF16 through compiled kernels. A processor starts with small pictures, because a step
    at 128 px costs a fifth of one at 288; then the four inner stages learn, where a step costs a tenth, and finally
    the whole network.
    """
    gpu = device.kind == "cuda"
    growing = (Phase(0.0, 128), Phase(0.25, 192), Phase(0.4, 288, frozen=2), Phase(0.8, 288))
    return Recipe(
        size=320,
        phases=(Phase(0.0, 288),) if gpu else growing,
        batch=64 if gpu else 8,
        learning_rate=2e-3 if gpu else 1e-3,
        augmentation="strong",
        optimizer="adamw",
        weight_decay=1e-4,
        annealed=True,
        warmup=0.02,
        ema=0.999,
        precision=_precision(device),
        compiled=gpu and _compiles(device),
    )


def _precision(device: Device) -> TrainPrecision:
    """Return BF16 if the device computes in it: others emulate it, slower than FP16 on a GPU or FP32 on a processor."""
    if device.kind == "cpu":
        # An older PyTorch cannot tell.
        capabilities: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return "bf16-mixed" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "32-true"
    if not torch.cuda.is_available():
        return "bf16-mixed"
    with torch.cuda.device(device.index):
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def _compiles(device: Device) -> bool:
    """Return whether torch.compile works here: it needs Triton, a C compiler and a GPU from Volta on."""
    able = find_spec("triton") is not None and any(map(shutil.which, ("cc", "gcc", "clang")))
    return able and torch.cuda.is_available() and torch.cuda.get_device_capability(device.index) >= OLDEST_FOR_TRITON


RECIPES: Mapping[str, Callable[[Device], Recipe]] = {"authors": authors, "fast": fast}


def find_recipe(name: str, device: Device) -> Recipe:
    """Return the recipe of that name for a processor or a GPU. Raise InputError if there is none."""
    if name not in RECIPES:
        raise InputError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name](device)
