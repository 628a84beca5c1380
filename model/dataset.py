"""Folders of photographs with masks, as training and validation read them."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from u2net.runtime.errors import DatasetError, InputError
from u2net.runtime.images import SUFFIXES, open_picture, read_size
from u2net.runtime.preprocess import ByteArray
from u2net.runtime.presets import PRESETS

REFERENCE = PRESETS["reference"]

WHITE = 128
"""Grey level from which on a pixel of a mask is the object's."""

NO_OBJECT = f"no mask has a value above {WHITE - 1}; a mask is 255 where the object is, not 1"


@dataclass(frozen=True)
class Pair:
    """One photograph and its mask."""

    image: Path
    mask: Path


def find_pairs(folder: Path) -> list[Pair]:
    """Pair ``images/STEM.*`` with ``masks/STEM.*``, sorted by stem.

    Raises:
        DatasetError: a folder is missing or empty, or a stem stands on one side only or twice.
    """
    sides = [_by_stem(folder / name) for name in ("images", "masks")]
    lonely = sorted(set(sides[0]) ^ set(sides[1]))
    if lonely:
        raise DatasetError(
            f"{folder}: images/ and masks/ must hold the same stems; {len(lonely)} have no partner, "
            f"the first is {lonely[0]!r}"
        )
    return [Pair(sides[0][stem], sides[1][stem]) for stem in sorted(sides[0])]


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; a data set has images/ and masks/ with the same stems")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in found:
            raise DatasetError(f"{folder}: {found[path.stem].name} and {path.name} share the stem {path.stem!r}")
        found[path.stem] = path
    if not found:
        raise DatasetError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))})")
    return found


def read_pair(pair: Pair, size: int) -> tuple[Image.Image, Image.Image]:
    """Open a pair and stretch both to size × size pixels, RGB and grey.

    Raises:
        DatasetError: a file is no picture, is damaged, or the mask is of another size than the picture.
    """
    with _blaming_dataset():
        image, mask = open_picture(pair.image, "RGB"), open_picture(pair.mask, "L")
    _check_sizes(pair, image.size, mask.size)
    square = (size, size)
    return image.resize(square, Image.Resampling.BILINEAR), mask.resize(square, Image.Resampling.BILINEAR)


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Refuse what could not be scored, in a hundredth of the time that scoring it takes.

    Of photographs the headers are read, of masks all.

    Raises:
        DatasetError: a file is no picture, a mask is of another size than its picture, or is neither black nor white
            where its object is.
    """
    brightest = []
    for pair in pairs:
        with _blaming_dataset():
            size = read_size(pair.image)
        mask = read_mask(pair)
        _check_sizes(pair, size, (mask.shape[1], mask.shape[0]))
        brightest.append(int(mask.max()))
    if max(brightest) < WHITE:
        raise DatasetError(NO_OBJECT)
    for pair, level in zip(pairs, brightest, strict=True):
        if 0 < level < WHITE:
            raise DatasetError(f"{pair.mask} has no value above {level}; a mask is 255 where the object is")


def read_mask(pair: Pair) -> ByteArray:
    """A pair's mask: uint8 H×W from 0 to 255.

    Raises:
        DatasetError: it cannot be read.
    """
    with _blaming_dataset():
        return np.array(open_picture(pair.mask, "L"))


@contextmanager
def _blaming_dataset() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise DatasetError(str(error)) from error


def _check_sizes(pair: Pair, image: tuple[int, int], mask: tuple[int, int]) -> None:
    if image != mask:
        raise DatasetError(
            f"{pair.mask} is {mask[0]}×{mask[1]}, its picture {image[0]}×{image[1]} pixels wide and high; "
            "they must be of one size"
        )


def hold_out(pairs: list[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """Part pairs into those to train on and about a share for validation, at least one, in their order.

    A pair is held out by its own name alone, so that a training that goes on from another's weights, whatever its
    seed and what was added since, does not validate on what those have seen.
    """
    ranks = {pair: _rank(pair) for pair in pairs}
    held_out = {pair for pair, rank in ranks.items() if rank < share} or {min(pairs, key=ranks.__getitem__)}
    return [pair for pair in pairs if pair not in held_out], [pair for pair in pairs if pair in held_out]


def _rank(pair: Pair) -> float:
    """From 0 to 1, evenly spread over names."""
    digest = hashlib.sha256(pair.image.stem.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
