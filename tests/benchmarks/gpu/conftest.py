"""Rows, files and a worker's folder that several tests of the GPU check share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from u2net.benchmarks.gpu import preparing
from u2net.benchmarks.gpu.arrays import write_array
from u2net.benchmarks.gpu.figures import Row, Timing
from u2net.benchmarks.gpu.protocol import Export
from u2net.benchmarks.statistics import Latency, Ratio
from u2net.model.synthetic import make_scenes
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.preprocess import preprocess_batch
from u2net.runtime.presets import PRESETS

SIDE = 160
"""Of ``small.onnx``."""

FP16_SIDE = 192
"""Of the FP16 graph: large enough for maps that span [0, 1]."""


def make_timing(median: float, batch: int = 1, ratio: float | None = None) -> Timing:
    """Times of that median in milliseconds."""
    latency = Latency(median, median * 1.1, median * 1.2)
    compared = None if ratio is None else Ratio(ratio, ratio - 0.1, ratio + 0.1)
    return Timing(latency, batch / median * 1e3, compared, rounds=10, runs=50)


@pytest.fixture
def make_row() -> Callable[..., Row]:
    """A row; ``median`` is of both clocks, ``tensorrt`` says whether it is an engine's."""

    def make(
        median: float | None = 2.0,
        *,
        tensorrt: bool = False,
        network: str = "u2net",
        batch: int = 1,
        ratio: float | None = None,
        **changes: Any,
    ) -> Row:
        times = None if median is None else make_timing(median, batch, ratio)
        values: dict[str, Any] = {
            "key": "trt" if tensorrt else "eager",
            "title": "TensorRT" if tensorrt else "eager",
            "precision": "fp16",
            "device": times,
            "wall": times,
            "open_seconds": None if median is None else 1.5,
        }
        return Row(network=network, batch=batch, is_tensorrt=tensorrt, **{**values, **changes})

    return make


@pytest.fixture(scope="session")
def exported_fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled network as a worker exports it: one that finds it does not export it again."""
    path = tmp_path_factory.mktemp("exported_fp16") / "graph.onnx"
    preparing.do(Export(str(BUNDLED_WEIGHTS), str(path), FP16_SIDE, ""))
    return path


@pytest.fixture
def work(tmp_path: Path, small_onnx: Path) -> Path:
    """A worker's folder: the bundled network as ``small.onnx``, five pictures, an input of batch 2."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "small.onnx").write_bytes(small_onnx.read_bytes())
    pictures = preprocess_batch(make_scenes(5), PRESETS["reference"].with_size(SIDE, SIDE))
    write_array(folder / "pictures.npz", pictures)
    write_array(folder / "input.npz", pictures[:2])
    return folder
