"""Picture files in and out."""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from u2net.runtime.errors import InputError
from u2net.runtime.files import written_whole
from u2net.runtime.preprocess import ByteArray

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def read_image(path: Path) -> ByteArray:
    """Read a picture as uint8 H×W×3 RGB, turned as its EXIF orientation says.

    Raises:
        InputError: the file is missing, no picture, or damaged.
    """
    return np.array(open_picture(path, "RGB"))


def open_picture(path: Path, mode: Literal["RGB", "L"]) -> Image.Image:
    """A picture of 8 bits a channel, turned as its EXIF orientation says.

    Raises:
        InputError: the file is missing, no picture, or damaged.
    """
    try:
        with Image.open(path) as picture:
            turned = ImageOps.exif_transpose(picture)
            if turned.mode.startswith("I;16"):  # Pillow's convert would clip it to white
                turned = Image.fromarray((np.asarray(turned, np.float32) / 257).round().astype(np.uint8))
            return turned.convert(mode)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture: {error}") from error


def write_image(path: Path, pixels: ByteArray) -> None:
    """Write uint8 H×W, H×W×3 or H×W×4 as PNG; whole or not at all."""
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
