"""``u2net train``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.printing import console
from u2net.runtime.errors import InputError


def train(
    folder: Annotated[Path, typer.Argument(help="Folder with images/ and masks/, same stems.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for weights, checkpoints and log.")],
    variant: Annotated[str, typer.Option(help="u2net or u2netp.")] = "u2netp",
    recipe: Annotated[str, typer.Option(help="Named recipe: authors.")] = "authors",
    size: Annotated[int | None, typer.Option(help="Stretch pictures to this size instead of the recipe's.")] = None,
    crop: Annotated[int | None, typer.Option(help="Random crop instead of the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(help="Batch size instead of the recipe's.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate instead of the recipe's.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the pictures.")] = 100,
    minutes: Annotated[float | None, typer.Option(help="Stop after this time.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    init: Annotated[Path | None, typer.Option(help="Start from this checkpoint's weights.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from last.ckpt in the output folder.")] = False,
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed or 16-mixed.")] = "32-true",
    workers: Annotated[int, typer.Option(help="Processes that read pictures.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    devices: Annotated[int, typer.Option(help="How many devices.")] = 1,
) -> None:
    """Train a network with seven-way deep supervision."""
    from u2net.model.training import RECIPES, TrainOptions
    from u2net.model.training import train as run_training

    if recipe not in RECIPES:
        raise InputError(f"there is no recipe {recipe!r}; there are {', '.join(RECIPES)}")
    options = TrainOptions(
        variant=variant,
        recipe=RECIPES[recipe].with_overrides(size, crop, batch, lr),
        epochs=epochs,
        minutes=minutes,
        seed=seed,
        init=init,
        resume=resume,
        precision=precision,  # type: ignore[arg-type]
        workers=workers,
        device=device,
        devices=devices,
    )
    result = run_training(folder, output, options)
    scores = result.scores
    console.print(
        f"{result.weights}: MAE {scores.mae:.4f}, max-F {scores.max_f:.4f}, IoU {scores.iou:.4f} "
        f"on {scores.pictures} held-out pictures"
    )
