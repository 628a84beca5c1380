from pathlib import Path

import numpy as np
import pytest
import torch

from u2net.model.dataset import find_pairs, read_pair
from u2net.model.training.decoded_pairs import decode_pairs
from u2net.runtime.errors import InputError

CPU = torch.device("cpu")


def test_pictures_are_kept_in_order_as_bytes(scenes: Path) -> None:
    pairs = find_pairs(scenes)

    pictures = decode_pairs(pairs, 48)

    assert len(pictures) == 8
    for index, pair in enumerate(pairs):
        image, mask = read_pair(pair, 48)
        np.testing.assert_array_equal(pictures.images[index].permute(1, 2, 0).numpy(), np.asarray(image))
        np.testing.assert_array_equal(pictures.masks[index, 0].numpy(), np.asarray(mask))


def test_pictures_are_taken_as_floats(scenes: Path) -> None:
    pictures = decode_pairs(find_pairs(scenes), 48)

    images, masks = pictures.take(torch.tensor([5, 2]), CPU)

    assert (images.shape, masks.shape) == ((2, 3, 48, 48), (2, 1, 48, 48))
    assert (images.dtype, masks.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(images[0], pictures.images[5] / 255)
    torch.testing.assert_close(masks[1], pictures.masks[2] / 255)
    assert pictures.near(CPU) is pictures


def test_reading_is_reported_to_its_end(scenes: Path) -> None:
    shares: list[float] = []

    decode_pairs(find_pairs(scenes), 32, shares.append)

    assert shares == [index / 8 for index in range(1, 9)]


def test_pictures_larger_than_memory_are_refused(scenes: Path) -> None:
    with pytest.raises(InputError, match=r"8 pictures of 2000000×2000000 px need 128000\.0 GB; lower --size"):
        decode_pairs(find_pairs(scenes), 2_000_000)
