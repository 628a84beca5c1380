"""``u2net import``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from u2net.cli.printing import console, print_line, progress_lines

if TYPE_CHECKING:
    from u2net.export.recovery import RecoveredWeights


def import_weights(
    file: Annotated[Path, typer.Argument(help="ONNX file of a U²-Net.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write, .safetensors.")],
) -> None:
    """Recover a checkpoint from an ONNX file.

    The file may come from any exporter; the recovered network is run beside it, and must give the same outputs.
    """
    from u2net.export.recovery import recover_checkpoint

    with progress_lines() as report:
        report("recovering")
        recovered = recover_checkpoint(file, output)
    print_recovered(recovered, file, console)


def print_recovered(recovered: "RecoveredWeights", source: Path, place: Console) -> None:
    """Say what was recovered, how far its outputs are from the file's, and what else there is to know."""
    channels = f"{recovered.classes} output channel{'s' if recovered.classes > 1 else ''}"
    line = f"{recovered.path}: {recovered.variant}, {channels}; outputs within {recovered.difference:.1e} of {source}"
    print_line(line, place=place)
    if recovered.note:
        print_line(f"Note: {recovered.note}", place=place)
