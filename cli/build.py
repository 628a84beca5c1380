"""``u2net build``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from u2net.cli import options as shared
from u2net.cli.printing import console, print_line, print_table, print_warnings, progress_lines
from u2net.runtime.device import CPU
from u2net.runtime.errors import InputError
from u2net.runtime.presets import PRESETS


def build(
    checkpoint: shared.CheckpointPath = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("u2net-build"),
    size: shared.Size = None,
    batch: shared.BatchSize = "dynamic",
    outputs: shared.OutputNames = "d0",
    opset: shared.Opset = 17,
    preset: shared.ExportPreset = PRESETS["reference"],
    images: shared.Images = None,
    precision: Annotated[
        Literal["fp16", "int8"], typer.Option(help="With int8, also an INT8 file, calibrated on some 200 --images.")
    ] = "fp16",
    target: shared.QuantizationTarget = None,
    dataset: Annotated[
        Path | None, typer.Option("--eval", help=f"{shared.DATASET} Each stage is scored on it.")
    ] = None,
    device: shared.DeviceName = CPU,
    rounds: Annotated[int, typer.Option(help="Rounds of the benchmark.")] = 10,
    engine: Annotated[bool, typer.Option(help="Compile an engine if TensorRT is installed.")] = True,
    flavour: shared.FlavourName = None,
    weights: shared.Weights = None,
) -> None:
    """Turn a checkpoint into verified, measured artifacts.

    The folder gets model.onnx, model.fp16.onnx, with --precision int8 model.int8.onnx, model.engine where TensorRT is
    installed, report.json, report.md, report.html, and in pictures/ the masks and cut-outs of the photographs. Exit
    status 1 if a stage exceeds its tolerances.
    """
    from u2net.benchmarks import deploy_checkpoint
    from u2net.benchmarks.report import accuracy_table, stage_table
    from u2net.export import BuildOptions, EngineOptions

    if flavour is not None and not engine:
        raise InputError("--flavour chooses how to compile an engine; leave out --no-engine")
    compiled = EngineOptions(flavour) if engine else None
    exported = shared.export_options(size, batch, outputs, opset, preset)
    int8 = shared.int8_options(precision, images, target=target)
    options = BuildOptions(exported, images, device, dataset, int8, compiled)
    with progress_lines() as report:
        source = shared.read_checkpoint(checkpoint, weights)
        done = deploy_checkpoint(source, output, options, rounds, report)
    built = done.built
    print_table(*stage_table(built, done.bench))
    print_warnings(done.bench.warnings)
    if built.accuracy:
        title = f"{built.accuracy.dataset}: {built.accuracy.pictures} pictures"
        print_table(*accuracy_table(built.accuracy), title)
        console.print("Scores of eager PyTorch, and what each file changes in them.")
    names = ", ".join(str(path.relative_to(output)) for path in done.files)
    print_line(f"Wrote to {output}: {names}")
    if built.engine and built.engine.remark:
        print_line(built.engine.remark, style="yellow")
    for failure in (*built.failures, *done.skipped):
        print_line(failure, style="red")
    raise typer.Exit(0 if built.passed else 1)
