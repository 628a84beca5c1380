"""``u2net info``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import Weights
from u2net.cli.printing import print_table
from u2net.runtime.loading import MODEL_SUFFIXES


def info(file: Annotated[Path, typer.Argument(help="Checkpoint or model file.")], weights: Weights = None) -> None:
    """Say what a file is."""
    if file.suffix.lower() in MODEL_SUFFIXES:
        from u2net.runtime.description import describe_engine, describe_model

        facts = describe_model(file) if file.suffix.lower() == ".onnx" else describe_engine(file)
    else:
        from u2net.model.checkpoint import describe_checkpoint, load_checkpoint

        facts = describe_checkpoint(load_checkpoint(file, weights))
    rows = [(name, _text(value)) for name, value in facts.items()]
    print_table((str(file), ""), rows, words=2)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name} {item}" for name, item in value.items())
    return str(value)
