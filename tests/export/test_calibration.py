from pathlib import Path

import numpy as np

from u2net.export.calibration import CALIBRATION_SCENES, MAX_IMAGES, gather_images
from u2net.runtime import write_image


def test_large_folder_gives_evenly_spaced_pictures(tmp_path: Path) -> None:
    """A data set of thousands would not fit into memory, and every stage would take hours."""
    for index in range(4 * MAX_IMAGES):
        write_image(tmp_path / f"{index:04}.png", np.full((2, 3), index, np.uint8))

    found = gather_images(tmp_path)

    assert list(found) == [f"{index:04}.png" for index in range(0, 4 * MAX_IMAGES, 4)]
    assert [int(image[0, 0, 0]) for image in found.values()] == list(range(0, 4 * MAX_IMAGES, 4))


def test_small_folder_gives_all_pictures(tmp_path: Path) -> None:
    for index in range(MAX_IMAGES - 1):
        write_image(tmp_path / f"{index:04}.png", np.zeros((2, 3), np.uint8))

    assert len(gather_images(tmp_path)) == MAX_IMAGES - 1


def test_no_folder_gives_synthetic_scenes() -> None:
    assert len(gather_images(None)) == CALIBRATION_SCENES
