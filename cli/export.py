"""``u2net export``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import (
    Batch,
    Checkpoint,
    Images,
    Opset,
    Outputs,
    PresetName,
    Size,
    checkpoint_or_bundled,
    export_options,
)
from u2net.cli.printing import console
from u2net.runtime.errors import InputError


def export(
    checkpoint: Checkpoint = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("model.onnx"),
    size: Size = None,
    batch: Batch = "dynamic",
    outputs: Outputs = "d0",
    precision: Annotated[str, typer.Option(help="fp32 or fp16.")] = "fp32",
    opset: Opset = 17,
    preset: PresetName = "reference",
    images: Images = None,
) -> None:
    """Export a checkpoint to simplified ONNX with explicit upsampling; FP16 is calibrated on --images."""
    from u2net.export import export_model

    if precision not in ("fp32", "fp16"):
        raise InputError(f"--precision is fp32 or fp16; got {precision!r}")
    options = export_options(size, batch, outputs, opset, preset)
    with console.status("exporting"):
        stage = export_model(
            checkpoint_or_bundled(checkpoint), output, options, half=precision == "fp16", images=images
        )
    console.print(f"{stage.path}: {stage.nodes} nodes, {stage.size_bytes / 1e6:.1f} MB, {stage.seconds:.1f} s")
