"""Engines that take images on a real GPU: uint8 in, masks at the images' own sizes out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.gpu.conftest import DEVICE, BuildEngine, Graphs, iou, skip_if_refused, to_gpu, to_host
from u2net.runtime import ProfileError, load
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.profiles import ProfileRequest, SizeSpan, Span

pytestmark = pytest.mark.gpu

SIDES = Span(32, 128, 256)


@pytest.fixture(scope="module")
def engine(
    build: BuildEngine, options: EngineOptions, graphs: Graphs, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An engine for images of 32 to 256 pixels."""
    request = ProfileRequest((Span(1, 1, 2),), (SizeSpan(SIDES, SIDES),))
    path = build(tmp_path_factory.mktemp("images") / "images.engine", replace(options, profiles=request), graphs.image)
    skip_if_refused(path)
    return path


def test_masks_are_those_of_the_network_with_preprocessing_outside(engine: Path, graphs: Graphs) -> None:
    with load(engine, DEVICE) as session:
        masks = [session(image) for image in graphs.scenes]

    for mask, wanted in zip(masks, graphs.masks, strict=True):
        assert mask.shape == wanted.shape
        assert wanted.min() < 0.1 and wanted.max() > 0.9
        assert np.abs(mask - wanted).mean() <= 2e-3
        assert iou(wanted, mask) >= 0.995


def test_images_of_all_sizes_get_in_a_batch_what_they_get_alone(engine: Path, graphs: Graphs) -> None:
    images = [*graphs.scenes, *graphs.scenes[::-1]]
    with load(engine, DEVICE) as session:
        together = session.batch(images)
        alone = [session(image) for image in images]

    for mask, single in zip(together, alone, strict=True):
        np.testing.assert_allclose(mask, single, atol=1e-2)


def test_bytes_in_gpu_memory_go_in_without_a_copy(engine: Path, graphs: Graphs) -> None:
    images = graphs.scenes[0][None]
    with load(engine, DEVICE) as session:
        wanted = session.infer(images)["mask"]
        for _ in range(4):  # the third run launches a CUDA graph
            np.testing.assert_allclose(to_host(session.infer(to_gpu(images))["mask"]), wanted, atol=1e-5)


def test_an_image_that_is_too_large_is_refused(engine: Path) -> None:
    with load(engine, DEVICE) as session, pytest.raises(ProfileError, match="built for"):
        session(np.zeros((300, 300, 3), np.uint8))


def test_an_engine_of_one_size_takes_that_size(
    build: BuildEngine, options: EngineOptions, engine: Path, graphs: Graphs, tmp_path: Path
) -> None:
    image = graphs.scenes[0]
    size = SizeSpan(*map(Span.only, image.shape[:2]))
    path = build(
        tmp_path / "one.engine", replace(options, profiles=ProfileRequest((Span.only(1),), (size,))), graphs.image
    )
    with load(path, DEVICE) as session, load(engine, DEVICE) as other:
        np.testing.assert_allclose(session(image), other(image), atol=1e-2)
