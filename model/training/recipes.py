"""Named recipes: everything about a training that decides which weights come out, but for seed and duration."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import pairwise
from typing import Literal, get_args

import torch

from u2net.model.network import MIN_SIZE
from u2net.model.training.augmentation import AUGMENTATIONS, AugmentationName
from u2net.runtime.errors import InputError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
OptimizerName = Literal["adam", "adamw", "muon"]
Kind = Literal["cpu", "cuda"]

OLDEST_FOR_TRITON = (7, 0)
MOST_FROZEN = 5

NAMED = {
    "precision": get_args(Precision),
    "optimizer": get_args(OptimizerName),
    "augmentation": tuple(AUGMENTATIONS),
}


@dataclass(frozen=True)
class Stage:
    """A part of the training at one size."""

    start: float
    """Share of the training that is done when it begins, from 0."""
    crop: int
    """Side of what the network sees, in pixels."""
    frozen: int = 0
    """So many outer stages of encoder and decoder stay as they are; those inside learn, each from its own side map."""


@dataclass(frozen=True)
class Recipe:
    """What the network sees and how it is optimised."""

    size: int
    """Pictures are stretched to this many pixels square."""
    stages: tuple[Stage, ...]
    """In order, the first at 0. A stage of a smaller crop sees the pictures smaller in proportion."""
    batch: int
    """Pictures a step, over all devices."""
    learning_rate: float
    augmentation: AugmentationName = "crop-flip"
    optimizer: OptimizerName = "adam"
    weight_decay: float = 0.0
    annealed: bool = False
    """Whether the learning rate falls to zero as a cosine over the training; constant otherwise."""
    warmup: float = 0.0
    """Share of the training over which the learning rate rises."""
    ema: float | None = None
    """Decay of the exponential moving average whose weights are kept; None keeps the last weights."""
    precision: Precision = "32-true"
    compiled: bool = False
    """Whether ``torch.compile`` compiles network and loss."""

    @property
    def crop(self) -> int:
        """The largest crop."""
        return max(stage.crop for stage in self.stages)

    def stage_at(self, progress: float) -> Stage:
        """The stage when a share of the training, 0 to 1, is done."""
        return next(stage for stage in reversed(self.stages) if stage.start <= progress)

    def stages_from(self, progress: float) -> tuple[Stage, ...]:
        """The stages of the rest of the training, the present one first."""
        return (self.stage_at(progress), *(stage for stage in self.stages if stage.start > progress))

    def side_of(self, crop: int) -> int:
        """Side that pictures are shrunk to before a crop is taken of them."""
        return max(crop, round(self.size * crop / self.crop))

    def with_overrides(
        self,
        *,
        size: int | None = None,
        crop: int | None = None,
        batch: int | None = None,
        learning_rate: float | None = None,
        augmentation: str | None = None,
        optimizer: str | None = None,
        precision: str | None = None,
        compiled: bool | None = None,
        frozen: int | None = None,
    ) -> "Recipe":
        """The recipe with every value that is not None in place of its own; a crop makes one stage of all."""
        stages = self.stages if crop is None else (Stage(0.0, crop),)
        changes = {
            "size": size,
            "stages": stages if frozen is None else tuple(replace(stage, frozen=frozen) for stage in stages),
            "batch": batch,
            "learning_rate": learning_rate,
            "augmentation": augmentation,
            "optimizer": optimizer,
            "precision": precision,
            "compiled": compiled,
        }
        return replace(self, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]

    def check(self) -> None:
        """Raise InputError where a value could not be used."""
        for stage in self.stages:
            if not MIN_SIZE <= stage.crop <= self.size:
                raise InputError(
                    f"crop {stage.crop} must be at least {MIN_SIZE} and at most the size {self.size}; set both"
                )
            if not 0 <= stage.frozen <= MOST_FROZEN:
                raise InputError(f"0 to {MOST_FROZEN} of the six stages can be frozen; got {stage.frozen}")
        starts = [stage.start for stage in self.stages]
        if not starts or starts[0] != 0 or any(later <= earlier for earlier, later in pairwise(starts)):
            raise InputError(f"stages begin at 0 and rise; they begin at {starts}")
        if self.batch < 2:
            raise InputError(f"batch norm needs a batch of at least 2 while training; got {self.batch}")
        if not self.learning_rate > 0:
            raise InputError(f"the learning rate must be above 0; got {self.learning_rate}")
        if not 0 <= self.warmup < 1 or (self.ema is not None and not 0 < self.ema < 1):
            raise InputError(f"warm-up and EMA decay are shares below 1; got {self.warmup} and {self.ema}")
        for name, known in NAMED.items():
            if getattr(self, name) not in known:
                raise InputError(f"there is no {name} {getattr(self, name)!r}; there are {', '.join(known)}")


def authors(_kind: Kind) -> Recipe:
    """The authors' training script: 320 px, crop 288, batch 12, Adam at 1e-3, constant."""
    return Recipe(size=320, stages=(Stage(0.0, 288),), batch=12, learning_rate=1e-3)


def fast(kind: Kind) -> Recipe:
    """The best weights in a given time.

    A GPU sees large batches in BF16 through compiled kernels. A processor starts with small pictures, because a step
    at 128 px costs a fifth of one at 288; then it learns inside of two stages, where a step costs a tenth, and last as
    a whole. It uses BF16 only where it computes in it: emulated it is slower.
    """
    common = Recipe(
        size=320,
        stages=(Stage(0.0, 288),),
        batch=64,
        learning_rate=2e-3,
        augmentation="strong",
        optimizer="adamw",
        weight_decay=1e-4,
        annealed=True,
        warmup=0.02,
        ema=0.999,
        precision="bf16-mixed",
        compiled=True,
    )
    if kind == "cuda":
        return replace(common, precision=_gpu_precision(), compiled=_compiles())
    return replace(
        common,
        stages=(Stage(0.0, 128), Stage(0.25, 192), Stage(0.4, 288, frozen=2), Stage(0.8, 288)),
        batch=8,
        learning_rate=1e-3,
        precision="bf16-mixed" if _computes_bf16() else "32-true",
        compiled=False,
    )


def _gpu_precision() -> Precision:
    """BF16 from Ampere on; older GPUs compute in FP16 or only emulate it."""
    old = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)
    return "16-mixed" if old else "bf16-mixed"


def _compiles() -> bool:
    """Whether torch.compile can make kernels here: it needs Triton, a C compiler and a GPU from Volta on."""
    able = find_spec("triton") is not None and any(map(shutil.which, ("cc", "gcc", "clang")))
    return able and torch.cuda.is_available() and torch.cuda.get_device_capability() >= OLDEST_FOR_TRITON


def _computes_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


RECIPES: Mapping[str, Callable[[Kind], Recipe]] = {"authors": authors, "fast": fast}


def find_recipe(name: str, kind: str) -> Recipe:
    """The recipe of that name for a processor or a GPU.

    Raises:
        InputError: there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]("cpu" if kind == "cpu" else "cuda")
