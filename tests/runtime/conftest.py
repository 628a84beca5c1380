"""Small ONNX files and sessions that the runtime's tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from u2net.runtime import Session, load
from u2net.runtime.artifact import METADATA_KEY

WEIGHTS = (0.7, -1.1, 0.4)
"""Weights of R, G and B: all differ, so that swapped channels show."""


def random_pixels(*shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def tiny_onnx(tmp_path: Path) -> Callable[..., Path]:
    """Write small networks."""

    def write(
        name: str = "tiny.onnx",
        *,
        metadata: str | None = None,
        batch: int | str = "N",
        height: int | str = "H",
        width: int | str = "W",
        channels: int = 3,
        inputs: int = 1,
        element: int = TensorProto.FLOAT,
        classes: int = 1,
        last: str = "Sigmoid",
    ) -> Path:
        """Write a 1×1 convolution followed by ``last``; ``inputs=2`` adds a second input to the first."""
        names = ["input", "other"][:inputs]
        sides = [batch, channels, height, width]
        weights = [WEIGHTS[index % 3] * (1 + index // channels) for index in range(classes * channels)]
        kind = onnx.helper.tensor_dtype_to_np_dtype(element)
        kernel = helper.make_tensor("w", element, [classes, channels, 1, 1], [kind.type(value) for value in weights])
        nodes = [helper.make_node("Add", names, ["sum"])] if inputs == 2 else []
        axis: dict[str, Any] = {"axis": 1} if last == "Softmax" else {}
        nodes += [
            helper.make_node("Conv", ["sum" if inputs == 2 else "input", "w"], ["z"]),
            helper.make_node(last, ["z"], ["d0"], **axis),
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(name, element, sides) for name in names],
            [helper.make_tensor_value_info("d0", element, [batch, classes, height, width])],
            [kernel],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        if metadata is not None:
            helper.set_model_props(model, {METADATA_KEY: metadata})
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def session(small_onnx: Path) -> Iterator[Session]:
    """The bundled network at 160×160 on the processor."""
    with load(small_onnx) as opened:
        yield opened
