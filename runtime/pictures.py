"""Masks and cut-outs of picture files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from u2net.runtime.errors import InputError
from u2net.runtime.files import make_folder
from u2net.runtime.images import read_image, write_image
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
        InputError: two pictures share a stem.
    """
    stems = [source.stem for source in sources]
    twice = [stem for stem in stems if stems.count(stem) > 1]
    if twice:
        raise InputError(f"two pictures share the stem {twice[0]!r}, so their masks would share a name")
    return [
        PictureFiles(each, folder / f"{each.stem}.mask.png", folder / f"{each.stem}.cutout.png") for each in sources
    ]


def write_pictures(session: Session, sources: Sequence[Path], folder: Path) -> Iterator[PictureFiles]:
    """Write mask and cut-out of each picture into ``folder``, one after the other.

    Raises:
        InputError: a picture cannot be read, two share a stem, or the folder cannot be written.
    """
    plan = plan_pictures(sources, folder)
    make_folder(folder)
    for files in plan:
        image = read_image(files.source)
        mask = session(image)
        write_image(files.mask, to_grey(mask))
        write_image(files.cutout, cut_out(image, mask))
        yield files
