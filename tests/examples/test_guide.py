"""The Python code of docs/EMBEDDING.md; test_web.py and test_cpp.py run the rest."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.examples.guide import read_code
from u2net.export import fuse_images
from u2net.runtime import load, to_grey


def test_the_mask_of_onnx_runtime_alone_is_ours(
    small_onnx: Path, photographs: dict[str, npt.NDArray[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse_images(small_onnx, tmp_path / "fused.onnx")
    Image.fromarray(photographs["cat"]).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)

    exec(read_code("python"), {})

    with load(tmp_path / "fused.onnx") as session:
        assert np.array_equal(np.asarray(Image.open("mask.png")), to_grey(session(photographs["cat"])))
