"""``u2net inspect``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import GpuName
from u2net.cli.printing import print_line, print_table


def inspect(engine: Annotated[Path, typer.Argument(help="TensorRT engine.")], device: GpuName = None) -> None:
    """List the layers of an engine: type, precision, time.

    Then count its fused convolutions, copies and separate upsamplings.
    """
    from u2net.runtime.trt.layers import summarize_layers
    from u2net.runtime.trt.running.inspection import inspect_engine

    found = inspect_engine(engine, device)
    times = found.times
    rows = [
        (layer.name, layer.kind, layer.precision, f"{times[layer.name]:.4f}" if layer.name in times else "")
        for layer in found.layers
    ]
    print_table(("layer", "type", "precision", "ms"), rows, str(engine), words=3)
    print_line(found.where)
    for line in summarize_layers(found.layers):
        print_line(line)
