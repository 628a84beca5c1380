"""Image in: from pixels of any size to the float32 tensor that a preset describes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from u2net.runtime.errors import InputError
from u2net.runtime.presets import Kernel, Preset

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that sets a picture upright, by EXIF orientation. Pillow's exif_transpose also writes the EXIF data
anew, which fails on the damaged tags of many cameras."""

PICTURE_KINDS = (
    "u2net takes photographs that Pillow opens (JPEG, PNG, WebP, TIFF …), not videos, URLs or standard input"
)

REASONS: dict[type[Exception], str] = {
    FileNotFoundError: f"there is no such file; {PICTURE_KINDS}",
    UnidentifiedImageError: f"its format is not known; {PICTURE_KINDS}",
}


@contextmanager
def reading_picture(name: object) -> Iterator[None]:
    """Turn any error that Pillow raises while it reads a picture into an InputError that names the picture."""
    try:
        yield
    except Exception as error:  # its plug-ins raise almost anything for a damaged file
        reason = REASONS.get(type(error)) or str(error) or type(error).__name__
        raise InputError(f"{name} cannot be read as a picture: {reason}") from error


def orientation(picture: Image.Image) -> int:
    """EXIF orientation; 1 (upright) if the tag is missing or damaged, and for TIFF, which Pillow turns itself."""
    value = picture.getexif().get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and value in TURNS and picture.format != "TIFF" else 1


def standardize(picture: Image.Image) -> Image.Image:
    """Turn a picture into upright sRGB of 8 bits a channel, mode RGBA if it has transparency, else RGB.

    Networks are trained on sRGB, and viewers take pixels without a profile for sRGB: converting here serves both. Raise
    ValueError for 32 bits a channel; Pillow may raise anything else.
    """
    turn = TURNS.get(orientation(picture))
    upright = picture if turn is None else picture.transpose(turn)
    sixteen = upright.mode.startswith("I;16") or (upright.mode == "I" and picture.format == "PPM")  # Pillow scales PGM
    if upright.mode in ("I", "F") and not sixteen:
        raise ValueError("its values have 32 bits, so it is not known which is white; save it with 8 or 16")
    if sixteen:  # Pillow's convert would clip it to white
        upright = Image.fromarray((np.asarray(upright, np.float32) / 257).round().astype(np.uint8))
    standard = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    profile = upright.info.get("icc_profile")
    if profile and upright.mode in ("RGB", "RGBA", "P"):
        with suppress(ImageCms.PyCMSError):  # a damaged profile is ignored
            ImageCms.profileToProfile(standard, BytesIO(profile), ImageCms.createProfile("sRGB"), inPlace=True)
    return standard


def as_pixels(image: object) -> ByteArray:
    """Return an image as a plain contiguous array, uint8 H×W×3 RGB or H×W×4 RGBA.

    Takes uint8 arrays H×W×3 RGB, H×W×4 RGBA and H×W grey, and Pillow pictures, which :func:`standardize` converts.
    Anything else raises InputError.
    """
    if isinstance(image, Image.Image):
        with reading_picture("the picture"):
            image = np.array(standardize(image))
    if not isinstance(image, np.ndarray):
        raise InputError(f"an image is a NumPy array of uint8 or a PIL.Image; got {type(image).__name__}")
    if image.dtype != np.uint8:
        raise InputError(f"an image holds uint8 values from 0 to 255; got {image.dtype} of shape {image.shape}")
    pixels = np.asarray(image)  # subclasses such as matrices and masked arrays have their own indexing rules
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.size == 0:
        raise InputError(f"an image is H×W×3, H×W×4 or H×W, of one pixel or more; got shape {image.shape}")
    return np.ascontiguousarray(pixels)


def as_rgb(image: object) -> ByteArray:
    """Check an image as :func:`as_pixels` does and return uint8 H×W×3 RGB, without alpha."""
    return np.ascontiguousarray(as_pixels(image)[:, :, :3])


def as_rgb_batch(images: Sequence[object]) -> list[ByteArray]:
    """Do to each image what :func:`as_rgb` does; an error names the image if there are several."""
    found = []
    for index, image in enumerate(images):
        try:
            found.append(as_rgb(image))
        except InputError as error:
            if len(images) == 1:
                raise
            raise InputError(f"image {index} of {len(images)}, from 0: {error}") from error
    return found


def resize_float(plane: FloatArray, height: int, width: int, kernel: Kernel) -> FloatArray:
    """Resize one float32 H×W plane without rounding to whole grey levels."""
    if plane.shape == (height, width):
        return plane
    picture = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(picture.resize((width, height), Image.Resampling[kernel.upper()]), dtype=np.float32)


def resize_rgb(image: ByteArray, preset: Preset) -> FloatArray:
    """Resize uint8 H×W×3 to the preset's size; return float32 from 0 to 255."""
    picture, kernel = Image.fromarray(image), Image.Resampling[preset.kernel.upper()]
    size = preset.width, preset.height
    if preset.depth == "uint8":
        return np.asarray(picture.resize(size, kernel), dtype=np.float32)
    # Pillow resizes floats one band at a time; it also separates them faster than NumPy does.
    bands = (picture.getchannel(band).convert("F").resize(size, kernel) for band in range(3))
    return np.stack([np.asarray(band, np.float32) for band in bands], axis=2)


def normalize(pixels: FloatArray, preset: Preset, out: FloatArray) -> None:
    """Divide, subtract the mean, divide by the std: float32 H×W×3 from 0 to 255 becomes 3×H×W in ``out``."""
    divisor = max(float(pixels.max()), preset.divisor_floor) if preset.divisor == "max" else 255.0
    scale = 1.0 / (divisor * np.array(preset.std))
    offset = -np.array(preset.mean) / np.array(preset.std)
    np.multiply(pixels.transpose(2, 0, 1), scale.astype(np.float32)[:, None, None], out=out)
    out += offset.astype(np.float32)[:, None, None]


def preprocess(image: object, preset: Preset) -> FloatArray:
    """Turn one image, as :func:`as_pixels` takes it, into the network's input, float32 1×3×height×width."""
    return preprocess_batch([image], preset)


def preprocess_batch(images: Sequence[object], preset: Preset) -> FloatArray:
    """Turn several images of any sizes into float32 N×3×height×width, each by its own statistics alone."""
    tensor = np.empty((len(images), 3, preset.height, preset.width), np.float32)
    for row, image in zip(tensor, as_rgb_batch(images), strict=True):
        normalize(resize_rgb(image, preset), preset, row)
    return tensor
