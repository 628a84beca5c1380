"""``u2net run``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import DeviceName, OnnxBackend, OwnPreset
from u2net.cli.printing import print_line, progress_console
from u2net.runtime.device import CPU
from u2net.runtime.images import MEGAPIXELS


def run(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    images: Annotated[
        list[Path], typer.Argument(help="Pictures, or folders without subfolders; earlier outputs are left out.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("masks"),
    preset: OwnPreset = None,
    megapixels: Annotated[int, typer.Option(help="Largest picture to read, in millions of pixels.")] = MEGAPIXELS,
    device: DeviceName = CPU,
    backend: OnnxBackend = None,
) -> None:
    """Write the mask and the cut-out of each picture."""
    from u2net.runtime import InputError, load
    from u2net.runtime.pictures import write_pictures

    skipped, total = list[InputError](), 0
    with load(model, device, backend=backend, preset=preset, contexts=1) as session:
        if backend is not None:
            print_line(f"{model} runs in {session.info.backend}, {session.info.provider}")
        for done in write_pictures(session, images, output, megapixels=megapixels):
            total += 1
            if isinstance(done, InputError):
                skipped.append(done)
                continue
            first = " (the first of several frames)" if done.more_frames else ""
            print_line(f"{done.source}{first} → {done.mask}, {done.cutout}")
    if skipped:
        reasons = "\n".join(map(str, skipped))
        print_line(f"{len(skipped)} of {total} skipped:\n{reasons}", place=progress_console)
        raise typer.Exit(1)
