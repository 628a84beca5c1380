"""Picture files in and out."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import ExifTags, Image

from u2net.runtime.errors import InputError
from u2net.runtime.files import written_whole
from u2net.runtime.preprocess import ByteArray

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

Source = Path | BinaryIO
"""A file, or its content as an open stream."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture upright, by EXIF orientation. Pillow's exif_transpose also writes the EXIF anew, which fails on
the damaged tags of many a camera."""

SIDEWAYS = 5
"""Orientations from here on swap width and height."""

WHAT_PILLOW_RAISES = (OSError, SyntaxError, ValueError, TypeError, struct.error, Image.DecompressionBombError)


def read_image(source: Source) -> ByteArray:
    """Read a picture as uint8 H×W×3 RGB, turned as its EXIF orientation says.

    Raises:
        InputError: the file is missing, no picture, damaged, or of 32 bits a channel.
    """
    return np.array(open_picture(source, "RGB"))


def open_picture(source: Source, mode: Literal["RGB", "L"]) -> Image.Image:
    """A picture of 8 bits a channel, turned as its EXIF orientation says.

    Raises:
        InputError: the file is missing, no picture, damaged, or of 32 bits a channel.
    """
    with _opened(source) as picture:
        turn = TURNS.get(_orientation(picture))
        upright = picture if turn is None else picture.transpose(turn)
        if upright.mode in ("I", "F"):
            raise ValueError("its values have 32 bits, and nothing tells which is white; save it with 8 or 16")
        if upright.mode.startswith("I;16"):  # Pillow's convert would clip it to white
            upright = Image.fromarray((np.asarray(upright, np.float32) / 257).round().astype(np.uint8))
        return upright.convert(mode)


def read_size(source: Source) -> tuple[int, int]:
    """Width and height in pixels of what :func:`open_picture` gives, from the file's header alone.

    Raises:
        InputError: the file is missing or no picture.
    """
    with _opened(source) as picture:
        width, height = picture.size
        return (height, width) if _orientation(picture) >= SIDEWAYS else (width, height)


@contextmanager
def _opened(source: Source) -> Iterator[Image.Image]:
    try:
        with Image.open(source) as picture:
            yield picture
    except WHAT_PILLOW_RAISES as error:
        name = source if isinstance(source, Path) else "the stream"
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error
        raise InputError(f"{name} cannot be read as a picture: {reason}") from error


def _orientation(picture: Image.Image) -> int:
    """From 1 to 8; 1, upright, where the file says nothing or nothing that is one."""
    value = picture.getexif().get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and value in TURNS else 1


def write_image(path: Path, pixels: ByteArray) -> None:
    """Write uint8 H×W, H×W×3 or H×W×4 as PNG; whole or not at all.

    Raises:
        InputError: the array is none of these, or the file cannot be written.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,), (4,)):
        found = f"{pixels.dtype} {pixels.shape}"
        raise InputError(f"{path} is not written: a picture is uint8 H×W, H×W×3 or H×W×4; got {found}")
    try:
        with written_whole(path) as partial:
            Image.fromarray(pixels).save(partial, format="PNG")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def find_images(folder: Path) -> list[Path]:
    """Pictures of a folder, sorted by name.

    Raises:
        InputError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))})")
    return found
