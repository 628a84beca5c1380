"""``u2net run``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import CPU, DeviceName, OwnPreset
from u2net.cli.printing import console
from u2net.cli.terminal import printable


def run(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("masks"),
    preset: OwnPreset = None,
    device: DeviceName = CPU,
) -> None:
    """Write the mask and the cut-out of each picture."""
    from u2net.runtime import load
    from u2net.runtime.images import find_images
    from u2net.runtime.pictures import write_pictures

    named = [path for each in images for path in (find_images(each) if each.is_dir() else [each])]
    sources = list({path.resolve(): path for path in named}.values())  # each once
    with load(model, device, preset=preset) as session:
        for files in write_pictures(session, sources, output):
            console.print(printable(f"{files.source} → {files.mask}, {files.cutout}"), soft_wrap=True)
