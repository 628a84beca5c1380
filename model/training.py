"""Training with seven-way deep supervision; loop, precision, checkpoints and devices are Lightning's."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, get_args

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader

from u2net.model.checkpoint import load_checkpoint, save_weights
from u2net.model.dataset import Pair, RandomCropFlip, SaliencyFolder, find_pairs
from u2net.model.loss import bce_fusion
from u2net.model.metrics import SaliencyMeter, SaliencyScores
from u2net.model.network import MIN_SIZE, VARIANTS, U2Net
from u2net.runtime.errors import DeviceError, InputError, TrainingError
from u2net.runtime.files import make_folder

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Batch = tuple[Tensor, Tensor]

LAST = "last.ckpt"
SAVE_INTERVAL = timedelta(minutes=10)
LOSS_NAMES = tuple(f"loss{index}" for index in range(7))


@dataclass(frozen=True)
class Recipe:
    """What the optimizer sees."""

    size: int
    """Pictures are stretched to this many pixels square."""
    crop: int
    """Side of the random crop in pixels."""
    batch: int
    learning_rate: float

    def with_overrides(
        self, size: int | None, crop: int | None, batch: int | None, learning_rate: float | None
    ) -> "Recipe":
        """The recipe with every value that is not None in place of its own."""
        return Recipe(
            size=self.size if size is None else size,
            crop=self.crop if crop is None else crop,
            batch=self.batch if batch is None else batch,
            learning_rate=self.learning_rate if learning_rate is None else learning_rate,
        )


RECIPES: Mapping[str, Recipe] = {
    # The authors' training script: 320 px, crop 288, batch 12, Adam at 1e-3, constant.
    "authors": Recipe(size=320, crop=288, batch=12, learning_rate=1e-3),
}


@dataclass(frozen=True)
class TrainOptions:
    """How to train; see ``u2net train --help`` for each."""

    variant: str = "u2netp"
    recipe: Recipe = RECIPES["authors"]
    epochs: int = 100
    minutes: float | None = None
    seed: int = 0
    init: Path | None = None
    resume: bool = False
    val_fraction: float = 0.02
    precision: Precision = "32-true"
    workers: int = 0
    device: str = "cpu"
    devices: int = 1

    def check(self) -> None:
        """Raise InputError where a value could not be used."""
        recipe = self.recipe
        if self.variant not in VARIANTS:
            raise InputError(f"there is no variant {self.variant!r}; there are {', '.join(VARIANTS)}")
        if not MIN_SIZE <= recipe.crop <= recipe.size:
            raise InputError(f"crop {recipe.crop} must be at least {MIN_SIZE} and at most the size {recipe.size}")
        if recipe.batch < 2:
            raise InputError(f"batch norm needs a batch of at least 2 while training; got {recipe.batch}")
        if not recipe.learning_rate > 0 or self.epochs < 1 or not 0 < self.val_fraction < 1:
            raise InputError("learning rate and epochs must be above 0, the validation fraction between 0 and 1")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"minutes must be above 0; got {self.minutes}")
        if self.workers < 0 or self.devices < 1:
            raise InputError(f"workers must be at least 0, devices at least 1; got {self.workers} and {self.devices}")
        if self.precision not in get_args(Precision):
            raise InputError(f"there is no precision {self.precision!r}; there are {', '.join(get_args(Precision))}")
        if self.device not in ("cpu", "cuda"):
            raise InputError(f"there is no device {self.device!r}; a device is cpu or cuda")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise DeviceError(f"cuda was asked for, but torch {torch.__version__} finds no CUDA device")


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind."""

    weights: Path
    """Final weights, safetensors in the published layout."""
    checkpoint: Path
    """Lightning checkpoint with the optimizer, for ``resume``."""
    scores: SaliencyScores
    """Of the final weights on the held-out pairs."""


class SaliencyModule(L.LightningModule):
    """A network with its loss, as Lightning runs it."""

    def __init__(self, network: U2Net, learning_rate: float) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.learning_rate = learning_rate
        self.meter = SaliencyMeter()
        self.latest: SaliencyScores | None = None

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        image, mask = batch
        loss = bce_fusion(self.network.logits(image.to(memory_format=torch.channels_last)), mask)
        if not torch.isfinite(loss.total):
            raise TrainingError(
                f"the loss became {loss.total.item()} at step {self.global_step}; {LAST}, where one was written, is "
                "from before: start from it with --init and a lower learning rate"
            )
        values = dict(zip(LOSS_NAMES, loss.terms.detach(), strict=True))
        self.log_dict(values, on_step=True, on_epoch=False, batch_size=len(image))
        self.log("loss", loss.total.detach(), on_step=True, prog_bar=True, batch_size=len(image))
        return loss.total

    def on_validation_epoch_start(self) -> None:
        self.meter = SaliencyMeter()

    def validation_step(self, batch: Batch, _index: int) -> None:
        image, mask = batch
        maps = self.network(image).d0[:, 0].float().cpu().numpy()
        truths = (mask[:, 0] * 255).round().to(torch.uint8).cpu().numpy()
        for one_map, truth in zip(maps, truths, strict=True):
            self.meter.add(one_map, truth)

    def on_validation_epoch_end(self) -> None:
        self.latest = scores = self.meter.scores()
        self.log_dict({"val_mae": scores.mae, "val_max_f": scores.max_f, "val_iou": scores.iou}, prog_bar=True)

    def configure_optimizers(self) -> Optimizer:
        return Adam(self.parameters(), lr=self.learning_rate)


def train(folder: Path, output: Path, options: TrainOptions | None = None) -> TrainResult:
    """Train on ``folder/images`` and ``folder/masks``; write weights, checkpoints and a log into ``output``.

    Raises:
        DatasetError: the folder cannot be used.
        CheckpointError: ``init`` cannot be loaded.
        InputError: an option is out of range, or there is nothing to resume.
        TrainingError: the loss became NaN or Inf.
    """
    options = options or TrainOptions()
    options.check()
    resume_from = _find_resume(output) if options.resume else None
    make_folder(output)
    L.seed_everything(options.seed, workers=True, verbose=False)
    training, validation = split_pairs(find_pairs(folder), options)
    module = SaliencyModule(_start_network(options), options.recipe.learning_rate)
    train_loader, val_loader = _loaders(training, validation, options)
    trainer = _trainer(output, options, len(train_loader))
    trainer.fit(module, train_loader, val_loader, ckpt_path=resume_from, weights_only=True)
    trainer.save_checkpoint(output / LAST)
    trainer.validate(module, val_loader, verbose=False)
    if module.latest is None:
        raise TrainingError("training ended before anything was validated; give it at least one epoch")
    weights = output / f"{options.variant}.safetensors"
    save_weights(module.network, weights)
    return TrainResult(weights, output / LAST, module.latest)


def split_pairs(pairs: list[Pair], options: TrainOptions) -> tuple[list[Pair], list[Pair]]:
    """Hold out a seeded share of the pairs for validation, at least one; the rest is for training."""
    count = max(1, round(len(pairs) * options.val_fraction))
    if len(pairs) - count < options.recipe.batch:
        raise InputError(
            f"{len(pairs)} pairs less {count} held out for validation do not fill one batch of {options.recipe.batch}; "
            "add pictures or lower the batch"
        )
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(options.seed)).tolist()
    held_out = set(order[:count])
    return (
        [pair for index, pair in enumerate(pairs) if index not in held_out],
        [pair for index, pair in enumerate(pairs) if index in held_out],
    )


def _find_resume(output: Path) -> Path:
    path = output / LAST
    if not path.is_file():
        raise InputError(f"nothing to resume: {path} is not there")
    load_checkpoint(path)
    return path


def _start_network(options: TrainOptions) -> U2Net:
    if options.init is None:
        return VARIANTS[options.variant]()
    network = load_checkpoint(options.init).network
    if network.variant != options.variant or network.out_channels != 1:
        raise InputError(
            f"{options.init} holds {network.variant} with {network.out_channels} output channels; "
            f"training is for {options.variant} with one"
        )
    return network.train()


def _loaders(
    training: list[Pair], validation: list[Pair], options: TrainOptions
) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
    recipe = options.recipe
    train_set = SaliencyFolder(training, recipe.size, RandomCropFlip(recipe.crop))
    val_set = SaliencyFolder(validation, recipe.size)
    common = {"num_workers": options.workers, "persistent_workers": options.workers > 0}
    return (
        DataLoader(train_set, recipe.batch, shuffle=True, drop_last=True, **common),  # type: ignore[arg-type]
        DataLoader(val_set, recipe.batch, **common),  # type: ignore[arg-type]
    )


def _trainer(output: Path, options: TrainOptions, steps: int) -> L.Trainer:
    best = ModelCheckpoint(output, filename="best", monitor="val_max_f", mode="max", enable_version_counter=False)
    last = ModelCheckpoint(
        output, filename=Path(LAST).stem, train_time_interval=SAVE_INTERVAL, enable_version_counter=False
    )
    return L.Trainer(
        accelerator=options.device,
        devices=options.devices,
        precision=options.precision,
        max_epochs=options.epochs,
        max_time=None if options.minutes is None else timedelta(minutes=options.minutes),
        callbacks=[best, last, RichProgressBar()],
        logger=CSVLogger(output, name="log", flush_logs_every_n_steps=10),
        log_every_n_steps=min(10, steps),
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
