"""Masks and cut-outs of picture files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from u2net.runtime.errors import InputError
from u2net.runtime.files import make_folder
from u2net.runtime.images import read_image, read_size, write_image
from u2net.runtime.postprocess import cut_out, to_grey
from u2net.runtime.session import Session


@dataclass(frozen=True)
class PictureFiles:
    """What was written for one picture."""

    source: Path
    mask: Path
    """Grey PNG at the picture's size."""
    cutout: Path
    """RGBA PNG: the picture with the mask as alpha."""


def plan_pictures(sources: Sequence[Path], folder: Path) -> list[PictureFiles]:
    """Name ``STEM.mask.png`` and ``STEM.cutout.png`` in ``folder`` for each picture.

    Raises:
        InputError: a file is no picture, two share a stem, or one would be overwritten by another's mask or cut-out.
    """
    by_stem: dict[str, Path] = {}
    for source in sources:
        if other := by_stem.get(source.stem):
            raise InputError(f"{other} and {source} share a stem, so their masks would share a name; run them apart")
        read_size(source)
        by_stem[source.stem] = source
    plan = [
        PictureFiles(each, folder / f"{each.stem}.mask.png", folder / f"{each.stem}.cutout.png") for each in sources
    ]
    taken = {source.resolve() for source in sources}
    for target in (path for files in plan for path in (files.mask, files.cutout)):
        if target.resolve() in taken:
            raise InputError(f"{target} is one of the pictures and would be overwritten; name another folder")
    return plan


def write_pictures(session: Session, sources: Sequence[Path], folder: Path) -> Iterator[PictureFiles]:
    """Write mask and cut-out of each picture into ``folder``, one after the other.

    Raises:
        InputError: a picture cannot be read, two share a stem, one would be overwritten, or the folder cannot be
            written.
    """
    plan = plan_pictures(sources, folder)
    make_folder(folder)
    for files in plan:
        image = read_image(files.source)
        mask = session(image)
        write_image(files.mask, to_grey(mask))
        write_image(files.cutout, cut_out(image, mask))
        yield files
