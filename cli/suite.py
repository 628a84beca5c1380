"""``u2net bench --suite``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import DeviceName, Images, ReportName, parse_names, parse_numbers, parse_pythons
from u2net.cli.printing import print_line, print_table, print_warnings, progress_lines
from u2net.runtime.device import CPU
from u2net.runtime.files import make_folder


def suite(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the report.")] = Path("u2net-bench"),
    name: ReportName = "suite",
    networks: Annotated[str, typer.Option(help="Networks, separated by commas.")] = "u2netp,u2net",
    batches: Annotated[str | None, typer.Option(help="Batch sizes; by default 1,4, or 1,8,32 on a GPU.")] = None,
    size: Annotated[int, typer.Option(help="Side of the square input in pixels.")] = 320,
    contestants: Annotated[str | None, typer.Option(help="Keys, separated by commas; by default all.")] = None,
    rounds: Annotated[int, typer.Option(help="Largest number of turns of each.")] = 15,
    minutes: Annotated[float, typer.Option(help="Limit of the measurement.")] = 14.0,
    checkpoint: Annotated[list[Path] | None, typer.Option(help="Weights to take; may be repeated.")] = None,
    images: Images = None,
    python: Annotated[list[str] | None, typer.Option(help="Another Python: rembg=PATH or tensorrt=PATH.")] = None,
    build_minutes: Annotated[float, typer.Option(help="Limit of building a TensorRT engine.")] = 6.0,
    opt_level: Annotated[int | None, typer.Option(help="Optimization level of TensorRT's builder, 0 to 5.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads; by default all usable cores.")] = None,
    growth: Annotated[
        float | None, typer.Option(help="Also measure time and memory against batch and side, up to this many GB.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of the turns.")] = 0,
    work: Annotated[Path, typer.Option(help="Folder of graphs, which are used again.")] = Path("build/suite"),
    device: DeviceName = CPU,
) -> None:
    """Time every way to run the networks on this machine, each in a process of its own, in turns."""
    from u2net.benchmarks.suite.options import SuiteOptions
    from u2net.benchmarks.suite.report import write_suite
    from u2net.benchmarks.suite.row_tables import speed_table
    from u2net.benchmarks.suite.suite import run_suite

    options = SuiteOptions(
        device=device,
        networks=parse_names(networks),
        batches=() if batches is None else parse_numbers(batches, "--batches"),
        size=size,
        contestants=parse_names(contestants),
        rounds=rounds,
        minutes=minutes,
        build_minutes=build_minutes,
        opt_level=opt_level,
        threads=threads,
        growth=growth,
        seed=seed,
        checkpoints=tuple(checkpoint or ()),
        images=images,
        pythons=parse_pythons(python or []),
        work=work,
    )
    options.check()
    make_folder(output)
    with progress_lines() as say:
        report = run_suite(options, say, lambda known: write_suite(known, output, name))
    print_table(*speed_table(report.rows))
    print_warnings(report.warnings)
    print_line(f"Wrote to {output}: {name}.json, {name}.md, {name}.html")
