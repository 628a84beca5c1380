"""``u2net export``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli import options as shared
from u2net.cli.printing import console
from u2net.runtime.errors import InputError
from u2net.runtime.presets import PRESETS


def export(
    checkpoint: shared.CheckpointPath = None,
    output: shared.OnnxFile = Path("model.onnx"),
    size: shared.Size = None,
    batch: shared.BatchSize = "dynamic",
    outputs: shared.OutputNames = "d0",
    precision: Annotated[str, typer.Option(help="fp32 or fp16.")] = "fp32",
    opset: shared.Opset = 17,
    preset: shared.ExportPreset = PRESETS["reference"],
    images: shared.Images = None,
    weights: shared.Weights = None,
) -> None:
    """Export a checkpoint to simplified ONNX with explicit upsampling.

    FP16 needs nodes kept in FP32 where values grow too large; --images are the photographs to find them with.
    """
    from u2net.export import export_model

    if precision not in ("fp32", "fp16"):
        raise InputError(f"--precision is fp32 or fp16; got {precision!r}")
    if images is not None and precision == "fp32":
        raise InputError("--images calibrate FP16; add --precision fp16")
    options = shared.export_options(size, batch, outputs, opset, preset)
    with console.status("exporting"):
        source = shared.read_checkpoint(checkpoint, weights)
        stage = export_model(source, output, options, half=precision == "fp16", images=images)
    made, size_mb = stage.artifact, stage.size_bytes / 1e6
    graph = f"input {made.shape}, outputs {', '.join(made.outputs)}, opset {made.opset}, {stage.nodes} nodes"
    line = f"{stage.path}: {made.variant} in {made.precision}, {graph}, {size_mb:.1f} MB, {stage.seconds:.1f} s"
    console.print(line, soft_wrap=True)
    console.print(f"Not yet compared: u2net verify {source.path} {stage.path}", soft_wrap=True)
