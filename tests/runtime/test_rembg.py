from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.runtime.test_images import profile_with_red_and_blue_swapped
from tests.runtime.test_imports import modules_after
from u2net.runtime import load, to_grey
from u2net.runtime.errors import InputError, SessionClosedError
from u2net.runtime.presets import PRESETS
from u2net.runtime.rembg import session

Pixels = npt.NDArray[np.uint8]


def test_predict_gives_the_mask_in_a_list(small_onnx: Path, photographs: dict[str, Pixels]) -> None:
    image = photographs["cat"]

    with session(small_onnx) as drop_in, load(small_onnx, preset="rembg") as ours:
        (mask,) = drop_in.predict(Image.fromarray(image))
        expected = to_grey(ours(image))

    assert (mask.mode, mask.size) == ("L", (image.shape[1], image.shape[0]))
    assert np.ptp(expected) > 128
    np.testing.assert_array_equal(np.asarray(mask), expected)


def test_pixels_are_taken_as_rembg_takes_them(small_onnx: Path, photographs: dict[str, Pixels]) -> None:
    """rembg ignores colour profiles and Pillow clips 16 bits to white, where a session of ours converts both."""
    picture, stream = Image.fromarray(photographs["cat"]), BytesIO()
    picture.save(stream, "PNG", icc_profile=profile_with_red_and_blue_swapped())
    deep = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 3)

    with session(small_onnx) as drop_in, Image.open(stream) as profiled:
        assert drop_in.predict(profiled) == drop_in.predict(picture)
        assert drop_in.predict(deep) == drop_in.predict(deep.convert("RGB"))
        assert not np.array_equal(drop_in.network(profiled), drop_in.network(picture))


def test_arguments_that_remove_passes_on_are_ignored(small_onnx: Path) -> None:
    with session(small_onnx) as drop_in:
        assert len(drop_in.predict(Image.new("RGB", (8, 6)), "more", model="u2net")) == 1


@pytest.mark.parametrize(
    ("options", "name"), [({}, "rembg"), ({"preset": None}, "reference"), ({"preset": "raw"}, "raw")]
)
def test_the_preset_is_rembgs_unless_the_caller_names_another(
    small_onnx: Path, options: dict[str, Any], name: str
) -> None:
    with session(small_onnx, **options) as drop_in:
        assert drop_in.network.info.preset == PRESETS[name].with_size(160, 160)


def test_options_reach_load(tiny_onnx: Callable[..., Path]) -> None:
    with session(tiny_onnx(), "cpu", backend="openvino", size=(64, 96)) as drop_in:
        info = drop_in.network.info
        assert info.backend.startswith("openvino")
        assert (info.preset.height, info.preset.width) == (64, 96)
    with pytest.raises(InputError, match="load has no option providers"):
        session(tiny_onnx(), providers=["CUDAExecutionProvider"])


def test_closing_releases_the_network(small_onnx: Path) -> None:
    with session(small_onnx) as drop_in:
        pass

    with pytest.raises(SessionClosedError, match="is closed"):
        drop_in.predict(Image.new("RGB", (8, 6)))


def test_rembg_is_not_imported() -> None:
    loaded = modules_after("import sys, u2net.runtime.rembg; print(*sys.modules)")

    assert "u2net.runtime.rembg" in loaded
    assert not loaded & {"rembg", "onnxruntime", "torch", "onnx"}
