"""Data sets: folders of photographs with masks."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from u2net.runtime.errors import DatasetError, InputError
from u2net.runtime.images import find_images, open_picture, read_size
from u2net.runtime.preprocess import ByteArray

WHITE = 129
"""Lowest grey level of a mask that the metrics count as the object."""


@dataclass(frozen=True)
class Pair:
    """One photograph and its mask."""

    image: Path
    mask: Path


def find_pairs(source: str | Path) -> list[Pair]:
    """Pair the pictures of ``images/`` and ``masks/``, or of ``…-Image/`` and ``…-Mask/`` as in DUTS, sorted by stem.

    Raise DatasetError if a folder is missing or empty, or a stem has no partner or occurs twice in one folder.
    """
    folder = Path(source)
    images, masks = _find_side(folder, "image"), _find_side(folder, "mask")
    sides = [_by_stem(images), _by_stem(masks)]
    lonely = sorted(set(sides[0]) ^ set(sides[1]))
    if lonely:
        lacking = masks if lonely[0] in sides[0] else images
        raise DatasetError(
            f"{folder}: {images.name}/ and {masks.name}/ must hold the same stems; {len(lonely)} have no partner, "
            f"the first is {lonely[0]!r}, which {lacking.name}/ lacks"
        )
    return [Pair(sides[0][stem], sides[1][stem]) for stem in sorted(sides[0])]


def _find_side(folder: Path, kind: str) -> Path:
    """Return the subfolder ``images``, or else the only one named like ``DUTS-TE-Image``; likewise for masks."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder")
    if (plain := folder / f"{kind}s").is_dir():
        return plain
    found = [each for each in folder.iterdir() if each.is_dir() and each.name.lower().endswith((kind, f"{kind}s"))]
    if len(found) != 1:
        raise DatasetError(
            f"{folder} has {', '.join(sorted(each.name for each in found)) or 'no folder'} for its {kind}s; a data set "
            "has images/ and masks/, or …-Image/ and …-Mask/ as DUTS has, with files of the same stems"
        )
    return found[0]


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    with _as_dataset_errors():
        paths = find_images(folder)
    for path in paths:
        if path.stem in found:
            raise DatasetError(f"{folder}: {found[path.stem].name} and {path.name} share the stem {path.stem!r}")
        found[path.stem] = path
    return found


def read_pair(pair: Pair, size: int) -> tuple[Image.Image, Image.Image]:
    """Return image and mask, RGB and grey, each stretched to size × size pixels."""
    with _as_dataset_errors():
        image, mask = open_picture(pair.image, "RGB"), _open_mask(pair.mask)
    check_sizes(pair, image.size, mask.size)
    square = (size, size)
    return image.resize(square, Image.Resampling.BILINEAR), mask.resize(square, Image.Resampling.BILINEAR)


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Refuse a data set that cannot be scored: read every mask and the header of every image.

    Raise DatasetError if a file is not a picture, a mask has another size than its image, an object is not white, no
    mask has an object, or none has a background.
    """
    darkest, brightest = [], []
    for pair in pairs:
        with _as_dataset_errors():
            size = read_size(pair.image)
        mask = read_mask(pair)
        check_sizes(pair, size, (mask.shape[1], mask.shape[0]))
        darkest.append(int(mask.min()))
        brightest.append(int(mask.max()))
    check_levels(min(darkest), max(brightest))
    for pair, level in zip(pairs, brightest, strict=True):
        if 0 < level < WHITE:
            raise DatasetError(f"{pair.mask} has no value above {level}; a mask is 255 where the object is")


def check_levels(darkest: int, brightest: int) -> None:
    """Raise DatasetError if these grey levels, the extremes of all masks, leave no object or no background."""
    if brightest < WHITE:
        raise DatasetError(
            f"no mask has a value above {WHITE - 1}, the largest is {brightest}; a mask is 255 where the object is"
        )
    if darkest >= WHITE:
        raise DatasetError(f"no mask has a value below {WHITE}: all are white; a mask is 0 where the background is")


def read_mask(pair: Pair) -> ByteArray:
    """Return a pair's mask, uint8 H×W from 0 to 255."""
    with _as_dataset_errors():
        return np.array(_open_mask(pair.mask))


def _open_mask(path: Path) -> Image.Image:
    """Return the grey picture, or its alpha channel if only that varies."""
    picture = open_picture(path, "RGBA")
    grey, alpha = picture.convert("L"), picture.getchannel("A")
    return alpha if _is_flat(grey) and not _is_flat(alpha) else grey


def _is_flat(picture: Image.Image) -> bool:
    darkest, brightest = picture.getextrema()
    return darkest == brightest


@contextmanager
def _as_dataset_errors() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise DatasetError(str(error)) from error


def check_sizes(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    """Raise DatasetError if width and height of a mask are not those of its picture."""
    if image != mask:
        raise DatasetError(
            f"{pair.mask} is {mask[0]}×{mask[1]}, its picture {image[0]}×{image[1]} pixels wide and high; "
            "they must have the same size"
        )


def hold_out(pairs: list[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """Split pairs into a training set and a validation set of about this share, at least one pair; keep their order.

    The name of a pair alone decides, so that a training that starts from another one's weights does not validate on
    pictures that those weights have seen, whatever its seed and whatever was added to the folder since.
    """
    digests = {pair: hashlib.sha256(os.fsencode(pair.image.stem)).digest() for pair in pairs}
    ranks = {pair: int.from_bytes(digest[:8], "big") / 2**64 for pair, digest in digests.items()}  # uniform in [0, 1)
    held_out = {pair for pair, rank in ranks.items() if rank < share} or {min(pairs, key=ranks.__getitem__)}
    return [pair for pair in pairs if pair not in held_out], [pair for pair in pairs if pair in held_out]
