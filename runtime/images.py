"""Picture files in and out."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

from u2net.runtime.errors import InputError
from u2net.runtime.files import write_errors_as, written_whole
from u2net.runtime.preprocess import ByteArray, as_pixels, orientation, reading_picture, standardize

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""Suffixes of photographs that every version of Pillow opens."""

RARE_SUFFIXES = frozenset({".avif", ".gif", ".heic", ".heif"})
"""Suffixes of other pictures, some of which Pillow opens only in later versions or with a plug-in."""

MASK, CUTOUT = ".mask.png", ".cutout.png"
"""Endings of the files written for a picture. A file with such a name is never taken for a picture."""

PNG_LEVEL = 4
"""zlib's level of compression: half the time of Pillow's 6, for files some 5 % larger."""

MEGAPIXELS = 200
"""Default limit of a picture's size in millions of pixels: a small file may unpack to more than the memory holds."""

_opening = Lock()


def read_image(source: str | Path | bytes | BinaryIO, *, megapixels: float = MEGAPIXELS) -> ByteArray:
    """Read a picture as uint8 H×W×3 RGB, or H×W×4 RGBA if it has transparency; upright and in sRGB.

    Args:
        source: a file, or its content as bytes or an open stream. Of several frames or pages the first is read.
        megapixels: largest picture to read, in millions of pixels, instead of Pillow's own limit.

    Raise InputError if the file is missing, not a picture, damaged, too large, or has 32 bits a channel.
    """
    return read_first_frame(BytesIO(source) if isinstance(source, bytes) else source, megapixels=megapixels)[0]


def read_first_frame(source: str | Path | BinaryIO, *, megapixels: float = MEGAPIXELS) -> tuple[ByteArray, bool]:
    """Read a picture as :func:`read_image` does, and tell whether it is an animation or has further pages."""
    with _opened(source, megapixels) as picture:  # phones store previews as further frames of an MPO file
        more = picture.format != "MPO" and getattr(picture, "is_animated", False)
        return np.array(standardize(picture)), more


def open_picture(source: str | Path | BinaryIO, mode: Literal["RGB", "RGBA", "L"]) -> Image.Image:
    """Read a picture as :func:`read_image` does, as a Pillow picture of the given mode."""
    with _opened(source) as picture:
        return standardize(picture).convert(mode)


def read_size(source: str | Path | BinaryIO) -> tuple[int, int]:
    """Read width and height in pixels of what :func:`open_picture` returns, from the file's header alone."""
    with _opened(source) as picture:
        width, height = picture.size
        return (height, width) if orientation(picture) >= 5 else (width, height)  # a quarter turn


@contextmanager
def _opened(source: str | Path | BinaryIO, megapixels: float = MEGAPIXELS) -> Iterator[Image.Image]:
    path = Path(source) if isinstance(source, str | Path) else None
    with ExitStack() as stack:
        stack.enter_context(reading_picture(path or "the stream"))
        if path and path.exists() and not path.is_file():
            raise ValueError("it is not a file")  # a pipe would block
        # Pillow maps files that it opens itself into memory, and then misreads turned TIFFs
        stream = stack.enter_context(path.open("rb")) if path else source
        with _opening:  # Pillow's own limit is a global variable, and prints a warning before it refuses
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                picture = Image.open(stream)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        with picture:
            if picture.format == "EPS":
                raise ValueError("it is PostScript, a program that Pillow would let Ghostscript run; save it as PNG")
            found = picture.width * picture.height / 1e6
            if not found <= megapixels:
                raise ValueError(f"it has {found:.1f} million pixels; the limit, megapixels, is {megapixels:g}")
            yield picture


def write_image(path: str | Path, image: ByteArray | Image.Image) -> None:
    """Write a Pillow picture or uint8 H×W, H×W×3 or H×W×4 as PNG, whole or not at all.

    Raise InputError if the array is none of these, or the file cannot be written.
    """
    pixels = as_pixels(image) if isinstance(image, Image.Image) else np.asarray(image)
    shapes = ((), (3,), (4,))
    if pixels.dtype != np.uint8 or not pixels.size or pixels.ndim < 2 or pixels.shape[2:] not in shapes:
        found = f"{pixels.dtype} {pixels.shape}"
        raise InputError(f"{path} is not written: a picture is uint8 H×W, H×W×3 or H×W×4; got {found}")
    path = Path(path)
    with write_errors_as(InputError, path), written_whole(path) as partial:
        Image.fromarray(pixels).save(partial, format="PNG", compress_level=PNG_LEVEL)


def is_output(path: Path) -> bool:
    """Tell whether a file is named like the masks and cut-outs that this package writes."""
    return path.name.lower().endswith((MASK, CUTOUT))


def find_images(source: str | Path, *, any_format: bool = False) -> list[Path]:
    """Find a folder's pictures, sorted, without masks and cut-outs; ``any_format`` adds those of :data:`RARE_SUFFIXES`.

    Raise InputError if there is no such folder, or no picture in it.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    suffixes = SUFFIXES | RARE_SUFFIXES if any_format else SUFFIXES
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))  # macOS keeps notes in ._photo.jpg
    found = sorted(path for path in shown if path.suffix.lower() in suffixes and not is_output(path))
    if not found:
        kinds = ", ".join(sorted(suffixes))
        raise InputError(f"{folder} holds no picture ({kinds}); subfolders, masks and cut-outs do not count")
    return found
