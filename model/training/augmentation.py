"""Random changes of a batch of pictures, on their device; the operations are Kornia's."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal

from torch import Tensor

from u2net.model.training.composition import compose

AugmentationName = Literal["crop-flip", "strong", "composed"]
Augment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Function from images N×3×S×S and masks N×1×S×S, float32 in [0, 1], to the same at the size of the crop."""


def _crop_flip(crop: int) -> Augment:
    """Crop a random square and flip half of the pictures left to right, as the authors do."""
    import kornia.augmentation as K

    return _as_augment(K.RandomCrop((crop, crop)), K.RandomHorizontalFlip(p=0.5))


def _strong(crop: int) -> Augment:
    """Rotate by up to 10°, move, scale by 0.6 to 1.4, shear, flip, change colours; sometimes blur or compress as JPEG.

    Scale and position matter most: in most training pictures the object is large and in the middle, so a network could
    learn to predict the middle.
    """
    import kornia.augmentation as K

    return _as_augment(
        K.RandomAffine(
            degrees=10.0, translate=(0.15, 0.15), scale=(0.6, 1.4), shear=5.0, padding_mode="reflection", p=0.9
        ),
        K.RandomCrop((crop, crop)),
        K.RandomHorizontalFlip(p=0.5),
        K.ColorJiggle(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.03, p=0.6),
        K.RandomGaussianBlur((5, 5), (0.3, 1.5), p=0.1),
        K.RandomJPEG(jpeg_quality=(30.0, 90.0), p=0.1),
    )


def _composed(crop: int) -> Augment:
    """Compose one picture in three of an object and another picture's background, then do what ``strong`` does."""
    strong = _strong(crop)
    return lambda images, masks: strong(*compose(images, masks))


def _as_augment(*operations: Any) -> Augment:
    import kornia.augmentation as K
    from kornia.constants import DataKey, Resample

    soft = {DataKey.MASK: {"resample": Resample.BILINEAR, "align_corners": False}}  # masks have soft edges
    sequence = K.AugmentationSequential(*operations, data_keys=["input", "mask"], extra_args=soft)

    def augment(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        changed = sequence(images, masks)
        return changed[0].clamp(0, 1), changed[1]

    return augment


AUGMENTATIONS: Mapping[AugmentationName, Callable[[int], Augment]] = {
    "crop-flip": _crop_flip,
    "strong": _strong,
    "composed": _composed,
}


@lru_cache
def find_augmentation(name: AugmentationName, crop: int) -> Augment:
    """Return the augmentation of that name for one crop size; it draws from torch's default generator."""
    return AUGMENTATIONS[name](crop)
