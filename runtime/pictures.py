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


def write_pictures(session: Session, sources: Sequence[Path], folder: Path) -> Iterator[PictureFiles]:
    """Write ``STEM.mask.png`` and ``STEM.cutout.png`` of each picture into ``folder``, one after the other.

    Raises:
        InputError: a picture cannot be read, two share a stem, or the folder cannot be written.
    """
    stems = [source.stem for source in sources]
    twice = [stem for stem in stems if stems.count(stem) > 1]
    if twice:
        raise InputError(f"two pictures share the stem {twice[0]!r}, so their masks would share a name")
    make_folder(folder)
    for source in sources:
        image = read_image(source)
        mask = session(image)
        files = PictureFiles(source, folder / f"{source.stem}.mask.png", folder / f"{source.stem}.cutout.png")
        write_image(files.mask, to_grey(mask))
        write_image(files.cutout, cut_out(image, mask))
        yield files
