from pathlib import Path

import numpy as np
import pytest

from u2net.runtime import InputError, write_image
from u2net.runtime.pictures import plan_pictures


def test_one_picture_twice_is_refused_as_two_of_one_stem_are(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, np.zeros((2, 3), np.uint8))

    with pytest.raises(InputError, match="share a stem"):
        plan_pictures([path, path], tmp_path / "out")
