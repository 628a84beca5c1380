"""``u2net train``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from u2net.cli.main import STATUS_INTERRUPTED
from u2net.cli.options import DATASET, DeviceName
from u2net.cli.printing import describe_scores, print_line, training_bar
from u2net.runtime.device import CPU

if TYPE_CHECKING:
    from u2net.model.training import TrainResult


def train(
    folder: Annotated[Path, typer.Argument(help=DATASET)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for weights, checkpoints and log.")],
    variant: Annotated[str, typer.Option(help="u2net or u2netp.")] = "u2netp",
    recipe: Annotated[str, typer.Option(help="Named recipe: authors, or fast for a given time.")] = "authors",
    size: Annotated[int | None, typer.Option(help="Stretch pictures to this size instead of the recipe's.")] = None,
    crop: Annotated[int | None, typer.Option(help="Size of random crops instead of the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(help="Batch size instead of the recipe's.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate instead of the recipe's.")] = None,
    augmentation: Annotated[str | None, typer.Option(help="crop-flip, strong or composed.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw or muon.")] = None,
    precision: Annotated[str | None, typer.Option(help="32-true, bf16-mixed or 16-mixed.")] = None,
    compiled: Annotated[bool | None, typer.Option("--compile/--no-compile", help="Use torch.compile.")] = None,
    freeze: Annotated[int | None, typer.Option(help="Number of outer stages that stay as they are, 0 to 5.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pictures; 100 without --minutes.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of training, in total over all runs.")] = None,
    pause: Annotated[float | None, typer.Option(help="Pause this run after this many minutes.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    init: Annotated[Path | None, typer.Option(help="Start from this checkpoint's weights.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from last.ckpt in the output folder.")] = False,
    device: DeviceName = CPU,
    devices: Annotated[int, typer.Option(help="Number of devices.")] = 1,
) -> None:
    """Train a network with seven-way deep supervision."""
    from u2net.model import training

    options = training.TrainOptions(
        variant=variant,
        recipe=training.find_recipe(recipe, device).with_overrides(
            size=size,
            crop=crop,
            batch=batch,
            learning_rate=lr,
            augmentation=augmentation,
            optimizer=optimizer,
            precision=precision,
            compiled=compiled,
            frozen=freeze,
        ),
        epochs=epochs,
        minutes=minutes,
        pause=pause,
        seed=seed,
        init=init,
        resume=resume,
        device=device,
        devices=devices,
    )
    with training_bar() as report:
        result = training.train_network(folder, output, options, report)
    _print_result(result)
    raise typer.Exit(STATUS_INTERRUPTED if result.interrupted else 0)


def _print_result(result: "TrainResult") -> None:
    paused = f"paused at {result.progress:.0%}; go on with --resume"
    said = paused if result.scores is None else describe_scores(result.scores)
    if result.is_main_process:
        print_line(f"{result.weights}: {said}")
