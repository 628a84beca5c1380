"""Engines that take images: running/backend.py, slot.py, arrays.py and profiles.py, with uint8 and channels last."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.runtime.conftest import random_pixels
from tests.runtime.trt.conftest import ARTIFACT, WriteEngine
from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import FakeTensorRT
from u2net.export.parity.inputs import image_sets
from u2net.runtime import Session, load
from u2net.runtime.artifact import ImageIo, InputShape
from u2net.runtime.errors import InputError, ProfileError
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.profiles import ProfileRequest, SizeSpan, Span
from u2net.runtime.trt.running.arrays import DeviceArray, as_device_array, new_device_array

Pixels = npt.NDArray[np.uint8]
SHAPES = [(1, 8, 8, 3), (2, 30, 40, 3), (3, 64, 96, 3)]
ANY_IMAGE = replace(ARTIFACT, image=ImageIo(None, None, "float32"), outputs=("mask",))


@pytest.fixture
def session(trt: FakeTensorRT, write_engine: WriteEngine) -> Any:
    path = write_engine(trt, record={"artifact": ANY_IMAGE}, images=True, outputs={"mask": 1}, profiles=[SHAPES])
    with load(path, "cuda:0") as opened:
        yield opened


def mean(image: Pixels) -> npt.NDArray[np.float32]:
    """What the simulated engine computes."""
    found: npt.NDArray[np.float32] = image.mean(axis=-1, dtype=np.float32) / 255
    return found


def test_masks_have_the_size_of_their_images(session: Session) -> None:
    images = [
        random_pixels(*size, 3, seed=seed) for seed, size in enumerate([(8, 8), (30, 40), (8, 8), (64, 96), (30, 40)])
    ]

    for found, image in zip(session.batch(images), images, strict=True):
        np.testing.assert_allclose(found, mean(image), atol=1e-6)
    assert session.info.shape == InputShape(None, None, None) and session.info.takes_images


def test_the_gate_resizes_images_that_an_engine_does_not_take(session: Session) -> None:
    sizes = [(20, 30), (1, 5000), (500, 400), (64, 96)]
    sets = image_sets({str(size): random_pixels(*size, 3) for size in sizes}, session)
    found = [image.shape[:2] for each in sets for image in each.values()]

    assert session.info.image_size == (30, 40)
    assert [(8, 8) <= shape <= (64, 96) for shape in found] == [True] * 3 * len(sizes)
    assert (20, 30) in found and (64, 96) in found


def test_an_engine_of_one_size_may_come_from_a_graph_of_any(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    shapes = [[(1, 30, 40, 3)] * 3]
    path = write_engine(trt, record={"artifact": ANY_IMAGE}, images=True, outputs={"mask": 1}, profiles=shapes)
    with load(path, "cuda:0") as session:
        info, image = session.info, random_pixels(30, 40, 3)
        np.testing.assert_allclose(session(image), mean(image), atol=1e-6)
        with pytest.raises(InputError, match="takes images of 30×40 pixels"):
            session(random_pixels(40, 30, 3))

    assert info.preset == ANY_IMAGE.preset and info.preset_stated, "the preset's size is the network's, not the images'"


def test_large_images_go_in_smaller_batches(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    shapes = [[(1, 8, 8, 3), (1, 64, 96, 3), (1, 64, 96, 3)], [(1, 8, 8, 3), (4, 30, 40, 3), (4, 30, 40, 3)]]
    path = write_engine(trt, record={"artifact": ANY_IMAGE}, images=True, outputs={"mask": 1}, profiles=shapes)
    with load(path, "cuda:0", cuda_graph=False) as session:
        images = [random_pixels(*size, 3, seed=seed) for seed, size in enumerate([(64, 96)] * 3 + [(30, 40)] * 5)]
        for found, image in zip(session.batch(images), images, strict=True):
            np.testing.assert_allclose(found, mean(image), atol=1e-6)

    assert [shape[0] for _, shape in trt.executed] == [1, 1, 1, 4, 1]


def test_images_in_gpu_memory_go_in_without_a_copy(session: Session, cuda: FakeCudaRuntime) -> None:
    images = random_pixels(2, 30, 40, 3)
    source = new_device_array(open_cuda(), images.shape, 0, np.uint8)
    cuda.find(source.address, images.nbytes)[:] = images.ravel()
    before = cuda.calls["cudaMemcpyAsync"]

    found = session.infer(source)["mask"]

    assert isinstance(found, DeviceArray) and found.shape == (2, 30, 40)
    assert cuda.calls["cudaMemcpyAsync"] == before
    np.testing.assert_allclose(cuda.floats(found.address, found.shape), mean(images), atol=1e-6)


@pytest.mark.usefixtures("cuda")
def test_the_interface_of_bytes_is_read() -> None:
    memory = new_device_array(open_cuda(), (1, 8, 8, 3), 0, np.uint8)

    class Caller:
        __cuda_array_interface__ = memory.__cuda_array_interface__

    assert as_device_array(Caller(), 0, None).kind == "|u1"


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_what_is_no_image_is_refused(session: Session, dtype: type) -> None:
    with pytest.raises(InputError, match="infer takes a uint8 array N×H×W×3"):
        session.infer(np.zeros((1, 3, 8, 8), dtype))
    with pytest.raises(InputError, match="infer takes a uint8 array N×H×W×3"):
        session.infer(new_device_array(open_cuda(), (1, 3, 8, 8), 0, dtype))


def test_a_size_that_no_profile_has_is_named(session: Session) -> None:
    with pytest.raises(ProfileError, match="not for 1×100×8×3; compile it with a --batch and --size"):
        session(random_pixels(100, 8, 3))


def test_a_graph_of_any_size_needs_a_size() -> None:
    with pytest.raises(InputError, match="say which the engine is for with --size"):
        ProfileRequest().resolve(InputShape(None, None, None), ARTIFACT.preset, images=True)
    sizes = SizeSpan(Span(1, 1080, 2160), Span(1, 1920, 3840))
    (profile,) = ProfileRequest(sizes=(sizes,)).resolve(InputShape(None, None, None), None, images=True)
    assert profile.shapes() == ((1, 1, 1, 3), (1, 1080, 1920, 3), (8, 2160, 3840, 3))
