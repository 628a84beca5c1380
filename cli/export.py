"""``u2net export``."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from u2net.cli import options as shared
from u2net.cli.printing import print_line, progress_lines
from u2net.runtime.artifact import MaskType
from u2net.runtime.errors import InputError
from u2net.runtime.presets import PRESETS


def export(
    checkpoint: shared.CheckpointPath = None,
    output: shared.OnnxFile = Path("model.onnx"),
    size: shared.Size = None,
    batch: shared.BatchSize = "dynamic",
    outputs: shared.OutputNames = "d0",
    precision: Annotated[Literal["fp32", "fp16", "int8"], typer.Option(help="Precision of the file.")] = "fp32",
    opset: shared.Opset = 17,
    preset: shared.ExportPreset = PRESETS["reference"],
    images: Annotated[Path | None, typer.Option(help="Folder of photographs to calibrate on.")] = None,
    target: shared.QuantizationTarget = None,
    calibrator: shared.CalibratorName = None,
    promise: shared.Promise = None,
    io: Annotated[
        Literal["tensor", "image"],
        typer.Option(help="image: pre- and postprocessing are inside the file, which takes images and gives masks."),
    ] = "tensor",
    source: shared.SourceSize = None,
    mask: Annotated[
        MaskType | None, typer.Option(help="Values of the masks of --io image, float32 by default; uint8 hides NaN.")
    ] = None,
    stretch: Annotated[
        bool | None, typer.Option(help="Stretch the masks of --io image; as the preset by default.")
    ] = None,
    weights: shared.Weights = None,
) -> None:
    """Export a checkpoint to simplified ONNX with explicit upsampling.

    FP16 keeps nodes in FP32 where values grow too large on the --images or, without them, on synthetic scenes. INT8
    takes some 200 --images, and keeps in FP32 the convolutions that would break the promise about the masks.
    """
    from u2net.export import export_model

    if images is not None and precision == "fp32":
        raise InputError("--images calibrate FP16 and INT8; add --precision fp16 or int8")
    options = shared.export_options(size, batch, outputs, opset, preset)
    int8 = shared.int8_options(precision, images, target=target, calibrator=calibrator, promise=promise)
    fusion = shared.image_options(io, source, mask=mask, stretch=stretch)
    with progress_lines() as report:
        report("exporting")
        network = shared.read_checkpoint(checkpoint, weights)
        stage = export_model(
            network,
            output,
            options,
            half=precision == "fp16",
            images=images,
            int8=int8,
            fusion=fusion,
            progress=report,
        )
    made, size_mb = stage.artifact, stage.size_bytes / 1e6
    graph = (
        f"input {made.image or made.shape}, outputs {', '.join(made.outputs)}, opset {made.opset}, {stage.nodes} nodes"
    )
    line = f"{stage.path}: {made.variant} in {made.precision}, {graph}, {size_mb:.1f} MB, {stage.seconds:.1f} s"
    print_line(line)
    compared = ["u2net", "verify", network.path, stage.path, *(["--images", images] if images else [])]
    print_line(f"Next: {shlex.join(map(str, compared))}")
