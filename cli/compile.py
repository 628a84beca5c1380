"""``u2net compile``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import FlavourName, device_number, parse_flavour_name, parse_names, parse_profiles
from u2net.cli.printing import build_bar, console, describe_engine_stage


def compile(
    model: Annotated[Path, typer.Argument(help="ONNX file; FP16 or FP32 is as the graph says.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Engine; MODEL.engine without it.")] = None,
    flavour: FlavourName = None,
    batch: Annotated[list[str] | None, typer.Option(help="MIN:OPT:MAX or a number; again for more profiles.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="MIN:OPT:MAX, each a number or HxW; again for more.")] = None,
    opt_level: Annotated[int | None, typer.Option(help="0 to 5: how long the builder searches.")] = None,
    timing_cache: Annotated[Path | None, typer.Option(help="File of the builder's measurements.")] = None,
    target: Annotated[str | None, typer.Option(help="TensorRT-RTX: sm_86,sm_89,…")] = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="Let FP32 convolutions be rounded to TF32.")] = False,
    device: Annotated[str, typer.Option(help="GPU that the full TensorRT builds on.")] = "cuda",
) -> None:
    """ONNX to a TensorRT engine, with a record of it beside it."""
    from u2net.export import EngineOptions, build_engine

    options = EngineOptions(
        flavour=parse_flavour_name(flavour),
        profiles=parse_profiles(batch or [], size or []),
        opt_level=opt_level,
        tf32=tf32,
        timing_cache=timing_cache,
        targets=parse_names(target),
        device=device_number(device),
    )
    with build_bar() as report:
        stage = build_engine(model, output or model.with_suffix(".engine"), options, report)
    console.print(describe_engine_stage(stage), soft_wrap=True)
