"""``u2net inspect``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import device_number
from u2net.cli.printing import console, print_table


def inspect(
    engine: Annotated[Path, typer.Argument(help="TensorRT engine.")],
    device: Annotated[
        str | None, typer.Option(help="GPU to time the layers on; without it what was recorded at the build.")
    ] = None,
) -> None:
    """Layers that an engine really runs: type, precision, time; fused convolutions, copies, lone upsamplings."""
    from u2net.runtime.trt.inspection import inspect_engine
    from u2net.runtime.trt.layers import summarize_layers

    found = inspect_engine(engine, None if device is None else device_number(device))
    times = found.times or {}
    rows = [
        (layer.name, layer.kind, layer.precision, f"{times[layer.name]:.4f}" if layer.name in times else "")
        for layer in found.layers
    ]
    print_table(("layer", "type", "precision", "ms"), rows, str(engine), words=3)
    console.print(found.where, soft_wrap=True)
    for line in summarize_layers(found.layers).lines():
        console.print(line, soft_wrap=True)
