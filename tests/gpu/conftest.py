"""Real engines on a real GPU. ``--graphs`` names an exported network for a Python that has TensorRT but no torch.

Its folder holds ``graph.onnx`` (FP16, dynamic batch, opset 17) and ``image.onnx``, which takes images, each with its
metadata in JSON; ``input.npz`` and ``output.npz``: pictures, float32 P×3×H×W, and their maps in eager FP32, float32
P×1×H×W; ``scenes.npz`` and ``masks.npz``: images of several sizes and their FP32 masks. ``make gpu-check`` writes all.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.gpu.graphs import write_graphs
from u2net.runtime import DependencyError, DeviceError, EngineGpuError, load
from u2net.runtime.artifact import Artifact
from u2net.runtime.device import Device
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.compiling import compile_engine
from u2net.runtime.trt.cuda import Gpu, PinnedMemory, Stream, open_cuda
from u2net.runtime.trt.flavours import installed_flavours, parse_flavour
from u2net.runtime.trt.profiles import ProfileRequest, Span
from u2net.runtime.trt.running.arrays import DeviceArray, new_device_array

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

DEVICE = "cuda:0"
LARGEST_BATCH = 4


@dataclass(frozen=True)
class Graph:
    """An exported network."""

    onnx: Path
    artifact: Artifact


@dataclass(frozen=True)
class Graphs:
    """The network on tensors and on images, with inputs and what FP32 makes of them."""

    tensor: Graph
    image: Graph
    pictures: FloatArray
    maps: FloatArray
    scenes: list[ByteArray]
    masks: list[FloatArray]


BuildEngine = Callable[[Path, EngineOptions, Graph], Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--graphs", type=Path, default=None, help="folder of an exported network, for a Python without torch"
    )


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    """The first GPU. Without one the test is skipped."""
    try:
        return open_cuda().find_gpu(0)
    except (DependencyError, DeviceError) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def graphs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """The bundled network, exported here or read from ``--graphs``. Without a GPU the test is skipped."""
    request.getfixturevalue("gpu")
    folder: Path | None = request.config.getoption("--graphs", default=None)
    if folder is None:
        pytest.importorskip("torch")
        folder = tmp_path_factory.mktemp("graphs")
        write_graphs(folder)
    (pictures,), (maps,), scenes, masks = (
        list(np.load(folder / f"{name}.npz").values()) for name in ("input", "output", "scenes", "masks")
    )
    tensor, image = (
        Graph(folder / f"{name}.onnx", Artifact.from_json((folder / f"{name}.json").read_text(encoding="utf-8")))
        for name in ("graph", "image")
    )
    return Graphs(tensor, image, pictures, maps, scenes, masks)


@pytest.fixture(scope="session")
def build() -> BuildEngine:
    """Build an engine of an exported network beside a copy of the graph, as a user does."""

    def build(path: Path, options: EngineOptions, graph: Graph) -> Path:
        onnx, artifact = path.with_suffix(".onnx"), graph.artifact
        onnx.write_bytes(graph.onnx.read_bytes())
        compile_engine(GraphSource(onnx, artifact.precision, artifact.opset, artifact), path, options)
        return path

    return build


@pytest.fixture(scope="session", params=["tensorrt", "tensorrt-rtx"])
def options(gpu: Gpu, request: pytest.FixtureRequest) -> EngineOptions:
    """Options of a quick build, for each installed flavour."""
    flavour = parse_flavour(request.param)
    if flavour not in installed_flavours():
        pytest.skip(f"{flavour} is not installed")
    return EngineOptions(
        flavour, ProfileRequest((Span(1, 1, LARGEST_BATCH),)), opt_level=0, device=Device("cuda", gpu.index)
    )


@pytest.fixture(scope="session")
def engine(
    build: BuildEngine, options: EngineOptions, graphs: Graphs, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An engine of batch 1:1:4. If the library does not support this GPU, the test is skipped with its message."""
    path = build(tmp_path_factory.mktemp("engines") / "model.engine", options, graphs.tensor)
    skip_if_refused(path)
    return path


def skip_if_refused(engine: Path) -> None:
    """Skip the test if the library that built an engine does not support this GPU."""
    try:
        load(engine, DEVICE).close()
    except EngineGpuError as error:
        pytest.skip(f"this GPU is not supported: {error}")


def iou(wanted: FloatArray, found: FloatArray) -> float:
    """Intersection over union of two masks at 0.5."""
    both, either = (wanted > 0.5) & (found > 0.5), (wanted > 0.5) | (found > 0.5)
    return float(both.sum() / either.sum())


def to_gpu(array: npt.NDArray[Any]) -> DeviceArray:
    """Copy values to new memory on the first GPU."""
    cuda = open_cuda()
    cuda.use(0)
    target, stream = new_device_array(cuda, array.shape, 0, array.dtype), Stream(cuda)
    pinned = PinnedMemory(cuda, array.nbytes)
    pinned.view(array.shape, array.dtype)[:] = array
    cuda.copy(target.address, pinned.address, array.nbytes, stream)
    stream.synchronize()
    return target


def to_host(array: DeviceArray) -> FloatArray:
    """Copy finished values from GPU memory."""
    cuda = open_cuda()
    cuda.use(0)
    size = np.dtype(array.kind).itemsize * math.prod(array.shape)
    stream, pinned = Stream(cuda), PinnedMemory(cuda, size)
    cuda.copy(pinned.address, array.address, size, stream)
    stream.synchronize()
    return pinned.view(array.shape, array.kind).copy()
