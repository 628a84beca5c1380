from pathlib import Path

import numpy as np

from u2net.export.calibration import MOST, SCENES, gather_images
from u2net.runtime import write_image


def test_of_a_large_folder_evenly_spaced_pictures_are_taken(tmp_path: Path) -> None:
    """An own data set of thousands would not fit into memory, nor go through each stage within hours."""
    for index in range(4 * MOST):
        write_image(tmp_path / f"{index:04}.png", np.full((2, 3), index, np.uint8))

    found = gather_images(tmp_path)

    assert list(found) == [f"{index:04}.png" for index in range(0, 4 * MOST, 4)]
    assert [int(image[0, 0, 0]) for image in found.values()] == list(range(0, 4 * MOST, 4))


def test_of_a_few_pictures_all_are_taken(tmp_path: Path) -> None:
    for index in range(MOST - 1):
        write_image(tmp_path / f"{index:04}.png", np.zeros((2, 3), np.uint8))

    assert len(gather_images(tmp_path)) == MOST - 1


def test_without_a_folder_scenes_stand_in() -> None:
    assert len(gather_images(None)) == SCENES
