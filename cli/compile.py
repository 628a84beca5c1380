"""``u2net compile``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import DeviceName, FlavourName, parse_names, parse_profiles
from u2net.cli.printing import build_bar, print_line
from u2net.runtime.device import CUDA


def compile(
    model: Annotated[Path, typer.Argument(help="ONNX file; the graph decides between FP32, FP16 and INT8.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Engine file; MODEL.engine by default.")] = None,
    flavour: FlavourName = None,
    batch: Annotated[list[str] | None, typer.Option(help="MIN:OPT:MAX or a number; repeat for more profiles.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="MIN:OPT:MAX, each a number or HxW; repeat for more.")] = None,
    opt_level: Annotated[int | None, typer.Option(help="0 to 5; a higher level searches longer.")] = None,
    timing_cache: Annotated[Path | None, typer.Option(help="File of kernel timings, read and updated.")] = None,
    target: Annotated[str | None, typer.Option(help="For TensorRT-RTX: sm_86,sm_89,…")] = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="Let the GPU round FP32 convolutions to TF32.")] = False,
    device: DeviceName = CUDA,
) -> None:
    """Compile an ONNX file into a TensorRT engine.

    A record of how it was built is written beside it, as MODEL.engine.json.
    """
    from u2net.export import EngineOptions, build_engine

    options = EngineOptions(
        flavour=flavour,
        profiles=parse_profiles(batch or [], size or []),
        opt_level=opt_level,
        tf32=tf32,
        timing_cache=timing_cache,
        targets=parse_names(target),
        device=device,
    )
    with build_bar() as report:
        stage = build_engine(model, output or model.with_suffix(".engine"), options, report)
    record, size_mb = stage.record, stage.size_bytes / 1e6
    place = record.gpu or ", ".join(record.targets)
    built = f"{record.flavour} {record.version}" + (f" for {place}" if place else "")
    profiles = " and ".join(map(str, record.profiles))
    line = f"{stage.path}: {built}, {record.precision}, {profiles}, {size_mb:.1f} MB, {stage.seconds:.1f} s"
    print_line(line)
