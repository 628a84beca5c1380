"""Folders of photographs with masks, as training and validation read them."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from u2net.runtime.errors import DatasetError
from u2net.runtime.images import SUFFIXES
from u2net.runtime.preprocess import normalize
from u2net.runtime.presets import PRESETS

REFERENCE = PRESETS["reference"]


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
        DatasetError: a file is no picture, or is damaged.
    """
    opened = []
    for path, mode in ((pair.image, "RGB"), (pair.mask, "L")):
        try:
            with Image.open(path) as picture:
                opened.append(picture.convert(mode).resize((size, size), Image.Resampling.BILINEAR))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DatasetError(f"{path} cannot be read as a picture: {error}") from error
    return opened[0], opened[1]


def to_tensors(image: Image.Image, mask: Image.Image) -> tuple[Tensor, Tensor]:
    """Normalise as the ``reference`` preset does: float32 3×H×W, and float32 1×H×W in [0, 1]."""
    pixels = normalize(np.asarray(image, dtype=np.float32), REFERENCE)
    truth = np.array(mask, dtype=np.float32)[None] / 255
    return torch.from_numpy(pixels), torch.from_numpy(truth)


class RandomCropFlip:
    """The authors' augmentation: a random square crop, then a left-right flip half the time."""

    def __init__(self, crop: int) -> None:
        self.crop = crop

    def __call__(self, image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
        left = random.randint(0, image.width - self.crop)
        top = random.randint(0, image.height - self.crop)
        box = (left, top, left + self.crop, top + self.crop)
        image, mask = image.crop(box), mask.crop(box)
        if random.random() < 0.5:
            flip = Image.Transpose.FLIP_LEFT_RIGHT
            image, mask = image.transpose(flip), mask.transpose(flip)
        return image, mask


Augmentation = Callable[[Image.Image, Image.Image], tuple[Image.Image, Image.Image]]


class SaliencyFolder(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of a folder as tensors: image float32 3×S×S normalised, mask float32 1×S×S in [0, 1]."""

    def __init__(self, pairs: list[Pair], size: int, augment: Augmentation | None = None) -> None:
        self.pairs = pairs
        self.size = size
        self.augment = augment

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = read_pair(self.pairs[index], self.size)
        if self.augment is not None:
            image, mask = self.augment(image, mask)
        return to_tensors(image, mask)
