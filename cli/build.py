"""``u2net build``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import (
    Batch,
    Checkpoint,
    Device,
    FlavourName,
    Images,
    Opset,
    Outputs,
    PresetName,
    Size,
    checkpoint_or_bundled,
    export_options,
    parse_flavour_name,
)
from u2net.cli.printing import console, print_table

PICTURES = "pictures"
"""Folder of the masks and cut-outs, in the output."""


def build(
    checkpoint: Checkpoint = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("u2net-build"),
    size: Size = None,
    batch: Batch = "dynamic",
    outputs: Outputs = "d0",
    opset: Opset = 17,
    preset: PresetName = "reference",
    images: Images = None,
    dataset: Annotated[
        Path | None, typer.Option("--eval", help="Photographs with masks to score each stage on.")
    ] = None,
    device: Device = "cpu",
    rounds: Annotated[int, typer.Option(help="Rounds of the benchmark.")] = 10,
    engine: Annotated[bool, typer.Option(help="Compile an engine where TensorRT is installed.")] = True,
    flavour: FlavourName = None,
) -> None:
    """Checkpoint to verified, measured artifacts: ONNX FP32 and FP16, engine, report, masks of the images."""
    from u2net.benchmarks import BenchOptions, measure, write_report
    from u2net.benchmarks.report import HEADER, accuracy_cells, accuracy_header, stage_cells
    from u2net.export import BuildOptions, EngineOptions, build_artifacts
    from u2net.runtime import load
    from u2net.runtime.images import find_images
    from u2net.runtime.pictures import PictureFiles, plan_pictures, write_pictures

    source = checkpoint_or_bundled(checkpoint)
    compiled = EngineOptions(parse_flavour_name(flavour)) if engine else None
    options = BuildOptions(export_options(size, batch, outputs, opset, preset), images, device, dataset, compiled)
    timing = BenchOptions(batches=(options.export.batch or 1,), rounds=rounds, device=device)
    timing.check()  # before the work, not after, like the next
    sources = [] if images is None else find_images(images)
    plan_pictures(sources, output / PICTURES)
    with console.status("starting") as status:
        built = build_artifacts(source, output, options, status.update)
        timed = measure(built.loadable(device), source, timing, status.update)
        reports = write_report(output, built, timed)
        with load(built.artifacts[0], device) as session:
            pictures = list(write_pictures(session, sources, output / PICTURES)) if sources else []
    print_table(HEADER, stage_cells(built, timed))
    if built.accuracy:
        title = f"{built.accuracy.dataset}: {built.accuracy.pictures} pictures"
        print_table(accuracy_header(built.accuracy), accuracy_cells(built.accuracy), title)
        console.print("Under eager its scores, under each file what it changes in them.")
    drawn = [each for each in pictures if isinstance(each, PictureFiles)]
    written = [*built.artifacts, *reports, *(path for each in drawn for path in (each.mask, each.cutout))]
    console.print(f"Wrote to {output}: {', '.join(path.name for path in written)}", soft_wrap=True)
    if built.engine and built.engine.note:
        console.print(f"The engine was {built.engine.note}", style="yellow", soft_wrap=True)
    for failure in [*built.failures, *(str(each) for each in pictures if not isinstance(each, PictureFiles))]:
        console.print(failure, style="red", soft_wrap=True)
    raise typer.Exit(0 if built.passed else 1)
