"""``u2net export``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import (
    BatchSize,
    CheckpointPath,
    ExportPreset,
    Images,
    OnnxFile,
    Opset,
    OutputNames,
    Size,
    Weights,
    export_options,
    read_checkpoint,
)
from u2net.cli.printing import console, describe_graph_stage
from u2net.runtime.errors import InputError
from u2net.runtime.presets import PRESETS


def export(
    checkpoint: CheckpointPath = None,
    output: OnnxFile = Path("model.onnx"),
    size: Size = None,
    batch: BatchSize = "dynamic",
    outputs: OutputNames = "d0",
    precision: Annotated[str, typer.Option(help="fp32 or fp16.")] = "fp32",
    opset: Opset = 17,
    preset: ExportPreset = PRESETS["reference"],
    images: Images = None,
    weights: Weights = None,
) -> None:
    """Export a checkpoint to simplified ONNX with explicit upsampling.

    FP16 needs nodes kept in FP32 where values grow too large; --images are the photographs to find them with.
    """
    from u2net.export import export_model

    if precision not in ("fp32", "fp16"):
        raise InputError(f"--precision is fp32 or fp16; got {precision!r}")
    if images is not None and precision == "fp32":
        raise InputError("--images calibrate FP16; add --precision fp16")
    options = export_options(size, batch, outputs, opset, preset)
    with console.status("exporting"):
        source = read_checkpoint(checkpoint, weights)
        stage = export_model(source, output, options, half=precision == "fp16", images=images)
    console.print(describe_graph_stage(stage), soft_wrap=True)
    console.print(f"Not yet compared: u2net verify {source.path} {stage.path}", soft_wrap=True)
