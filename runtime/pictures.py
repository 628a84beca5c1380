"""Masks and cut-outs of picture files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from u2net.runtime.cores import usable_cores
from u2net.runtime.errors import ArtifactError, InputError
from u2net.runtime.files import make_folder
from u2net.runtime.images import CUTOUT, MASK, MEGAPIXELS, find_images, is_output, read_first_frame, write_image
from u2net.runtime.postprocess import cut_out, to_grey
from u2net.runtime.preprocess import ByteArray, FloatArray, reading_picture
from u2net.runtime.session import Session

PICTURES_AT_ONCE = 4
"""Largest number of pictures in work: decoding and encoding one takes a core longer than a GPU runs."""


@dataclass(frozen=True)
class PictureFiles:
    """Files written for one picture."""

    source: Path
    mask: Path
    """Grey PNG of the picture's size."""
    cutout: Path
    """RGBA PNG: the picture in sRGB, its alpha times the mask as alpha."""
    more_frames: bool = False
    """True if the source is an animation or has further pages, of which only the first was read."""


def plan_pictures(places: Sequence[Path], folder: Path) -> list[PictureFiles]:
    """Name mask and cut-out of each picture: ``STEM.mask.png`` and ``STEM.cutout.png`` in ``folder``.

    Pictures that share a stem, as ``a.jpg`` and ``a.png`` do, keep their suffix: ``a.jpg.mask.png``. The places are
    pictures and folders of pictures. A picture named twice is taken once, and files named like masks and cut-outs are
    left out, so that a second run makes no masks of masks.

    Raise InputError if a file is missing, a folder holds no picture, only masks and cut-outs are named, or two pictures
    have the same file name.
    """
    found: dict[Path, Path] = {}
    for place in places:
        with reading_picture(place):
            place.stat()
        for path in find_images(place, any_format=True) if place.is_dir() else [place]:
            if not is_output(path):
                found.setdefault(path.resolve() if path.exists() else path, path)  # a link may lead in a circle
    if places and not found:
        raise InputError(f"there is nothing to do: files named *{MASK} and *{CUTOUT} are not taken for pictures")
    stems = Counter(path.stem for path in found.values())
    plan: dict[Path, PictureFiles] = {}
    for path in found.values():
        name = path.stem if stems[path.stem] == 1 else path.name
        files = PictureFiles(path, folder / (name + MASK), folder / (name + CUTOUT))
        if other := plan.get(files.mask):
            raise InputError(f"the masks of {other.source} and {path} would share a name; give each its own folder")
        plan[files.mask] = files
    return list(plan.values())


def write_pictures(
    session: Session, places: Sequence[Path], folder: Path, *, megapixels: float = MEGAPIXELS
) -> Iterator[PictureFiles | InputError]:
    """Write mask and cut-out of each picture; yield what was written, or the error of a picture without a mask.

    Pictures are decoded and encoded side by side; the session needs no more than one context.

    Raise InputError as :func:`plan_pictures` does, which takes the same places, or if the folder cannot be made.
    """
    plan = plan_pictures(places, folder)
    make_folder(folder)
    with ThreadPoolExecutor(min(PICTURES_AT_ONCE, usable_cores())) as threads:
        yield from threads.map(partial(_write_picture, session, megapixels), plan)


def _write_picture(session: Session, megapixels: float, files: PictureFiles) -> PictureFiles | InputError:
    try:
        image, more = read_first_frame(files.source, megapixels=megapixels)
        mask = _compute_mask(session, image, files.source)
        write_image(files.mask, to_grey(mask))
        write_image(files.cutout, cut_out(image, mask))
    except InputError as error:
        return error
    return replace(files, more_frames=more)


def _compute_mask(session: Session, image: ByteArray, source: Path) -> FloatArray:
    """Compute the mask of a picture. Raise InputError that names it if it is of a wrong size, or overflows FP16."""
    try:
        return session(image)
    except (InputError, ArtifactError) as error:
        raise InputError(f"{source} has no mask: {error}") from error
