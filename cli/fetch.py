"""``u2net fetch``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from u2net.cli.import_weights import print_recovered
from u2net.cli.printing import print_line, progress_console

WeightsName = Literal["u2net", "u2netp", "u2net_human_seg", "u2net_cloth_seg", "silueta"]


def fetch(
    name: Annotated[WeightsName, typer.Argument(help="Weights that rembg publishes as ONNX.")],
    mirror: Annotated[
        str | None, typer.Option(help="Address of a folder that holds NAME.onnx, instead of rembg's.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder to keep them in, instead of the user's cache.")] = None,
) -> None:
    """Download published weights as a checkpoint.

    Only the path goes to stdout, so that u2net build "$(u2net fetch u2net)" works.
    """
    from u2net.export.fetching import MIRROR, fetch_weights

    fetched = fetch_weights(name, cache=cache, mirror=mirror or MIRROR, progress=progress_console.is_terminal)
    if fetched.recovered is not None:
        print_recovered(fetched.recovered, fetched.source, progress_console)
        use = "" if fetched.preset == "reference" else f"Preprocessing: --preset {fetched.preset}"
    else:
        use = f"{fetched.refusal}. It is no checkpoint, but the ONNX file can be used with --preset {fetched.preset}"
    if use:
        print_line(use, place=progress_console)
    print_line(str(fetched.path))
