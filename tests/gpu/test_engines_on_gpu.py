"""Engines on a real GPU, with host memory."""

import gc
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.gpu.conftest import DEVICE, LARGEST_BATCH, BuildEngine, FloatArray, Graphs, iou, to_gpu
from tests.gpu.graphs import SIDE
from u2net.runtime import InputError, ProfileError, load
from u2net.runtime.device import Device
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.cuda import Gpu, open_cuda
from u2net.runtime.trt.profiles import Profile, ProfileRequest, Span
from u2net.runtime.trt.record import read_record
from u2net.runtime.trt.running.inspection import inspect_engine

pytestmark = pytest.mark.gpu

ROUNDING = 5e-3
"""Tolerance of a probability between profiles, which may choose different kernels for the same FP16 layer."""


def test_the_record_names_the_gpu_and_the_profile(engine: Path, options: EngineOptions, gpu: Gpu) -> None:
    record = read_record(engine)

    assert record is not None
    assert record.flavour == options.flavour
    assert record.profiles == (Profile(Span(1, 1, LARGEST_BATCH), Span.only(SIDE), Span.only(SIDE)),)
    assert record.plan_bytes == engine.stat().st_size
    if record.flavour == "tensorrt":  # the other is built ahead of time
        assert (record.gpu, record.compute_capability) == (gpu.name, gpu.compute_capability)


def test_an_engine_matches_eager_fp32(engine: Path, graphs: Graphs) -> None:
    assert graphs.maps.min() < 0.1 and graphs.maps.max() > 0.9, "maps near 0.5 would look like anything"
    with load(engine, DEVICE) as session:
        maps = np.concatenate([session.infer(picture[None])["d0"] for picture in graphs.pictures])

    assert np.abs(maps - graphs.maps).mean() <= 1e-3
    assert iou(graphs.maps, maps) >= 0.997


def test_the_session_describes_the_engine(engine: Path, options: EngineOptions, gpu: Gpu) -> None:
    with load(engine, DEVICE) as session:
        info = session.info

    assert str(options.flavour) in info.backend
    assert gpu.name in info.provider
    assert (info.precision, info.batch_limit, info.rebuilt) == ("fp16", LARGEST_BATCH, None)


@pytest.mark.parametrize("count", [1, 2, LARGEST_BATCH])
def test_a_batch_equals_its_single_images(engine: Path, graphs: Graphs, count: int) -> None:
    with load(engine, DEVICE) as session:
        together = session.infer(graphs.pictures[:count])["d0"]
        alone = np.concatenate([session.infer(picture[None])["d0"] for picture in graphs.pictures[:count]])

    np.testing.assert_allclose(together, alone, atol=ROUNDING)


def test_more_images_than_the_profile_are_split(engine: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40 + 7 * index, 50, 3), np.uint8) for index in range(2 * LARGEST_BATCH + 3)]
    with load(engine, DEVICE) as session:
        masks = session.batch(images, stretch=False)
        alone = [session(image, stretch=False) for image in images]

    assert [mask.shape for mask in masks] == [image.shape[:2] for image in images]
    for mask, single in zip(masks, alone, strict=True):
        np.testing.assert_allclose(mask, single, atol=ROUNDING)


def test_a_cuda_graph_changes_nothing(engine: Path, graphs: Graphs, caplog: pytest.LogCaptureFixture) -> None:
    """Shapes and pictures change between runs, so that an outdated graph would give wrong maps."""
    sizes = [1, 1, 1, 2, 2, 2, 1, 1, 1, 1]
    with (
        caplog.at_level(logging.WARNING, "u2net.tensorrt"),
        load(engine, DEVICE, cuda_graph=True, contexts=1) as graphed,
        load(engine, DEVICE, cuda_graph=False, contexts=1) as plain,
    ):
        for index, size in enumerate(sizes):
            tensor = np.roll(graphs.pictures, index, axis=0)[:size].copy()
            np.testing.assert_allclose(graphed.infer(tensor)["d0"], plain.infer(tensor)["d0"], atol=1e-6)

    assert "no CUDA graph" not in caplog.text, "each run was enqueued instead"


def test_threads_get_their_own_results(engine: Path, graphs: Graphs) -> None:
    """More threads than contexts, different pictures and batch sizes, all at once."""
    with load(engine, DEVICE, contexts=2) as session:
        wanted = {
            (index, size): session.infer(_some(graphs, index, size))["d0"] for index in range(4) for size in (1, 2)
        }
        start = threading.Barrier(8)

        def work(thread: int) -> list[tuple[tuple[int, int], FloatArray]]:
            start.wait(timeout=60)
            keys = [((thread + turn) % 4, 1 + (thread + turn) % 2) for turn in range(12)]
            return [(key, session.infer(_some(graphs, *key))["d0"]) for key in keys]

        with ThreadPoolExecutor(8) as pool:
            answers = [answer for part in pool.map(work, range(8)) for answer in part]

    assert len(answers) == 96
    for key, found in answers:
        np.testing.assert_allclose(found, wanted[key], atol=1e-6)


def _some(graphs: Graphs, index: int, size: int) -> FloatArray:
    return graphs.pictures[index : index + size].copy()


def test_each_batch_runs_under_its_own_profile(
    build: BuildEngine, options: EngineOptions, engine: Path, graphs: Graphs, tmp_path: Path
) -> None:
    """Batches between two profiles are padded in host memory, and refused in GPU memory."""
    spans = (Span.only(1), Span.only(LARGEST_BATCH))
    path = build(tmp_path / "two.engine", replace(options, profiles=ProfileRequest(spans)), graphs.tensor)
    with load(path, DEVICE) as session, load(engine, DEVICE) as other:
        for count in (1, 2, 3, LARGEST_BATCH):
            tensor = graphs.pictures[:count]
            np.testing.assert_allclose(session.infer(tensor)["d0"], other.infer(tensor)["d0"], atol=2 * ROUNDING)
        with pytest.raises(ProfileError, match="pad"):
            session.infer(to_gpu(graphs.pictures[:2]))


@pytest.mark.parametrize("shape", [(LARGEST_BATCH + 1, 3, SIDE, SIDE), (1, 3, SIDE + 32, SIDE), (1, 3, 8, SIDE)])
def test_a_shape_outside_the_profile_is_refused(engine: Path, graphs: Graphs, shape: tuple[int, ...]) -> None:
    with load(engine, DEVICE) as session:
        before = session.infer(graphs.pictures[:1])["d0"]
        with pytest.raises(InputError, match=r"takes|built for"):
            session.infer(np.zeros(shape, np.float32))
        np.testing.assert_array_equal(session.infer(graphs.pictures[:1])["d0"], before)


def test_repeated_loads_leak_no_memory(engine: Path, graphs: Graphs) -> None:
    def use() -> int:
        with load(engine, DEVICE) as session:
            for size in (1, 2, LARGEST_BATCH) * 3:
                session.infer(graphs.pictures[:size])
        gc.collect()
        return int(open_cuda().call("cudaMemGetInfo")[0])

    use()
    first = use()
    free = [use() for _ in range(4)]
    assert first - min(free) < 16e6


def test_inspecting_lists_the_layers_with_their_times(engine: Path, options: EngineOptions, gpu: Gpu) -> None:
    found = inspect_engine(engine, Device("cuda", gpu.index))

    assert gpu.name in found.where
    assert found.times is not None and all(milliseconds >= 0 for milliseconds in found.times.values())
    if options.flavour == "tensorrt":  # the report of TensorRT-RTX is not known yet
        assert sum(found.times.values()) > 0
        convolutions = [layer for layer in found.layers if layer.convolution]
        assert len(convolutions) >= 60, "the network has 119; some may be merged"
        assert sum(layer.precision == "fp16" for layer in convolutions) > len(convolutions) / 2
        assert inspect_engine(engine, None).layers == found.layers
