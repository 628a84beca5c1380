"""``u2net bench``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import DeviceName, JsonFile, OnnxBackend, OwnPreset, checkpoint_or_bundled, parse_numbers
from u2net.cli.printing import print_line, print_table, print_warnings, progress_lines
from u2net.runtime.device import CPU


def bench(
    models: Annotated[list[Path], typer.Argument(help="Model files.")],
    reference: Annotated[
        Path | None, typer.Option(help="Checkpoint run in eager PyTorch; by default the bundled U2NETP.")
    ] = None,
    batch: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "1",
    rounds: Annotated[int, typer.Option(help="Counted rounds.")] = 10,
    preset: OwnPreset = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads; by default all usable cores.")] = None,
    json_file: JsonFile = None,
    device: DeviceName = CPU,
    backend: OnnxBackend = None,
) -> None:
    """Time model files against eager PyTorch, in turns within one run.

    Two commands of their own: ``u2net bench --suite`` times every way to run the networks on this machine, ``u2net
    bench --compare OLD NEW`` says what got worse between two reports (``--json``). Exit status 1 if a model failed
    while it was measured.
    """
    from u2net.benchmarks import BenchOptions, measure_models
    from u2net.benchmarks.report import bench_tables
    from u2net.benchmarks.writing import write_json

    options = BenchOptions(
        batches=parse_numbers(batch, "--batch"),
        rounds=rounds,
        device=device,
        backend=backend,
        threads=threads,
        preset=preset,
    )
    with progress_lines() as say:
        report = measure_models(models, checkpoint_or_bundled(reference), options, say)
    speeds, steps = bench_tables(report)
    print_table(*speeds)
    print_table(*steps, "From picture to mask, in milliseconds")
    threads, processor = report.options.threads, report.machine.processor
    print_line(f"{threads} threads, {rounds} rounds in turns, {processor}")
    print_warnings(report.warnings)
    if json_file is not None:
        write_json(json_file, report)
        print_line(f"Wrote {json_file}")
    raise typer.Exit(0 if report.complete else 1)
