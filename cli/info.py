"""``u2net info``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.printing import print_table


def info(file: Annotated[Path, typer.Argument(help="Checkpoint or model file.")]) -> None:
    """Say what a file is."""
    if file.suffix.lower() == ".onnx":
        from u2net.runtime.description import describe_model

        facts = describe_model(file)
    else:
        from u2net.model.checkpoint import describe_checkpoint, load_checkpoint

        facts = describe_checkpoint(load_checkpoint(file))
    rows = [(name, _text(value)) for name, value in facts.items()]
    print_table((str(file), ""), rows)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name} {item}" for name, item in value.items())
    return str(value)
