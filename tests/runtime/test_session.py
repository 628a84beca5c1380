import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.runtime.conftest import random_pixels
from u2net.model.checkpoint import Checkpoint
from u2net.runtime import Session, load
from u2net.runtime.artifact import Artifact, InputShape
from u2net.runtime.backend import InputSpec
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, DeviceError, InputError, SessionClosedError
from u2net.runtime.loading import new_session
from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import preprocess
from u2net.runtime.presets import PRESETS, Preset

Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]

RAW = PRESETS["raw"].with_size(32, 32)
DYNAMIC = InputShape(None, None, None)


class FakeBackend:
    """A network whose outputs are the mean of R, G and B plus their own index; it records what it was asked for."""

    name = "fake 1.0"
    provider = "FakeProvider"
    precision = None
    contexts = 1

    def __init__(self, shape: InputShape = DYNAMIC, outputs: tuple[str, ...] = ("d0",)) -> None:
        self.input = InputSpec(shape)
        self.outputs = outputs
        self.artifact: Artifact | None = None
        self.asked: list[tuple[str, ...]] = []
        self.batches: list[int] = []
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def batch_limit(self, _height: int, _width: int) -> int | None:
        return self.input.shape.batch

    def run(self, tensor: Maps, outputs: Sequence[str]) -> dict[str, Maps]:
        self.asked.append(tuple(outputs))
        self.started.set()
        self.go_on.wait(timeout=20)
        self.batches.append(self.input.shape.batch or len(tensor))
        mean = tensor.mean(axis=1, keepdims=True)
        return {name: mean + np.float32(self.outputs.index(name)) for name in outputs}


def fake_session(backend: FakeBackend, preset: Preset = RAW, device: str = "cpu") -> Session:
    return new_session(backend, Path("fake.onnx"), Device.parse(device), preset=preset)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 32, 32, 1), (1, 0, 32, 32), (1, 1000)])
def test_a_network_for_something_else_has_no_masks(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend()

    monkeypatch.setattr(backend, "run", lambda *_: {"d0": np.zeros(shape, np.float32)})

    with pytest.raises(ArtifactError, match=r"fake\.onnx is no network for masks: d0 is \("):
        fake_session(backend)(random_pixels(40, 40, 3))


@pytest.mark.parametrize("shape", [(50, 70, 3), (70, 50), (33, 45, 4), (1, 1, 3), (300, 2, 3)])
def test_a_mask_has_the_images_size(session: Session, shape: tuple[int, ...]) -> None:
    mask = session(random_pixels(*shape))

    assert mask.shape == shape[:2]
    assert mask.dtype == np.float32
    assert mask.min() >= 0
    assert mask.max() <= 1


def test_a_mask_shows_the_object(session: Session, photographs: dict[str, Pixels]) -> None:
    mask = session(photographs["cat"])

    assert mask.max() == pytest.approx(1, abs=0.05)
    assert mask.min() == pytest.approx(0, abs=0.05)
    assert 0.05 < mask.mean() < 0.9


def test_a_mask_is_the_networks_map_prepared_and_finished(session: Session, photographs: dict[str, Pixels]) -> None:
    image, preset = photographs["coffee"], session.info.preset
    maps = session.infer(preprocess(image, preset))["d0"]

    np.testing.assert_allclose(session(image), postprocess(maps[0], preset, *image.shape[:2]), atol=1e-6)


@pytest.mark.parametrize("preset", ["raw", "reference"])
def test_stretch_may_be_asked_for_or_not(preset: str) -> None:
    image = np.tile(np.linspace(50, 150, 32).astype(np.uint8), (32, 1))
    backend = FakeBackend()
    session = fake_session(backend, replace(RAW, stretch=preset == "reference"))

    plain, stretched = session(image, stretch=False), session(image, stretch=True)

    assert (plain.min(), plain.max()) == pytest.approx((50 / 255, 150 / 255), abs=1e-6)
    assert (stretched.min(), stretched.max()) == (0, 1)
    np.testing.assert_array_equal(session(image), plain if preset == "raw" else stretched)


def test_a_batch_gives_what_single_images_give(session: Session, photographs: dict[str, Pixels]) -> None:
    images: list[object] = [
        np.zeros((90, 70, 3), np.uint8),
        photographs["astronaut"],
        random_pixels(120, 40, 3),
        photographs["cat"],
        np.full((64, 64), 255, np.uint8),
        photographs["coffee"][::4, ::4],
        random_pixels(8, 8, 4),
        photographs["rocket"],
        photographs["cat"][:, ::-1],
        np.zeros((1, 1), np.uint8),
    ]

    for alone, together in zip([session(image) for image in images], session.batch(images), strict=True):
        np.testing.assert_allclose(together, alone, atol=1e-6, rtol=0)


def test_an_empty_batch_gives_no_masks(session: Session) -> None:
    assert session.batch([]) == []


def test_one_bad_image_refuses_the_batch_before_it_runs() -> None:
    backend = FakeBackend()

    with pytest.raises(InputError, match=r"image 20 of 21, from 0: .*float64"):
        fake_session(backend).batch([random_pixels(8, 8)] * 20 + [np.zeros((8, 8))])
    assert backend.batches == []


@pytest.mark.parametrize(("device", "batches"), [("cpu", [4, 4, 3]), ("cuda", [8, 3])])
def test_a_dynamic_batch_is_bounded(device: str, batches: list[int]) -> None:
    backend = FakeBackend()

    masks = fake_session(backend, device=device).batch([random_pixels(8, 8)] * 11)

    assert len(masks) == 11
    assert backend.batches == batches


@pytest.mark.parametrize("image", [random_pixels(8, 9, 3), random_pixels(8, 9), Image.new("RGB", (9, 8))])
def test_a_single_image_is_no_batch(image: object) -> None:
    with pytest.raises(InputError, match=r"takes a list of images; .* call session\(image\)"):
        fake_session(FakeBackend()).batch(image)  # type: ignore[arg-type]


@pytest.mark.parametrize("outputs", [("d0",), ("d3", "d0"), ("d3", "d1"), ("1959", "1960")])
def test_masks_are_made_of_the_fused_map_and_nothing_else_is_computed(outputs: tuple[str, ...]) -> None:
    backend = FakeBackend(outputs=outputs)
    wanted = "d0" if "d0" in outputs else outputs[0]

    assert fake_session(backend)(np.zeros((8, 8), np.uint8)).max() == outputs.index(wanted)
    assert backend.asked == [(wanted,)]


def test_infer_computes_only_the_outputs_asked_for() -> None:
    backend, tensor = FakeBackend(outputs=("d0", "d1", "d2")), np.zeros((1, 3, 32, 32), np.float32)
    session = fake_session(backend)

    assert list(session.infer(tensor, ["d2", "d0"])) == ["d2", "d0"]
    assert list(session.infer(tensor)) == ["d0", "d1", "d2"]
    assert backend.asked == [("d2", "d0"), ("d0", "d1", "d2")]


@pytest.mark.parametrize("outputs", ["d0", ["d7"], [], ["d0", "d0"], 5])
def test_infer_refuses_outputs_that_are_none(outputs: object) -> None:
    with pytest.raises(InputError, match="outputs must be a list of distinct names out of d0;"):
        fake_session(FakeBackend()).infer(np.zeros((1, 3, 32, 32), np.float32), outputs)  # type: ignore[call-overload]


def test_a_session_of_the_parent_process_is_refused_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    session = fake_session(FakeBackend())
    monkeypatch.setattr("os.getpid", lambda: 1)

    with pytest.raises(DeviceError, match="load it again after the fork"):
        session(np.zeros((8, 8, 3), np.uint8))


def test_an_iterator_of_outputs_is_read_once() -> None:
    found = fake_session(FakeBackend()).infer(np.zeros((1, 3, 32, 32), np.float32), iter(["d0"]))  # type: ignore[call-overload]

    assert list(found) == ["d0"]


@pytest.mark.parametrize("stretch", ["false", 0, []])
def test_stretch_is_true_or_false(stretch: Any) -> None:
    with pytest.raises(InputError, match="stretch is True, False or None"):
        fake_session(FakeBackend())(np.zeros((8, 8, 3), np.uint8), stretch=stretch)


@pytest.mark.parametrize(("count", "runs"), [(1, 1), (3, 1), (4, 2), (7, 3)])
def test_a_fixed_batch_is_filled_up(count: int, runs: int) -> None:
    backend = FakeBackend(InputShape(3, 32, 32))
    images = [np.full((8, 9), 20 * index, np.uint8) for index in range(count)]

    masks = fake_session(backend).batch(images)

    assert backend.batches == [3] * runs
    assert [round(float(mask[4, 4]) * 255) for mask in masks] == [20 * index for index in range(count)]


def test_infer_takes_a_tensor_that_is_not_contiguous(session: Session) -> None:
    tensor = np.random.default_rng(0).normal(size=(1, 160, 160, 3)).astype(np.float32).transpose(0, 3, 1, 2)

    got = session.infer(tensor)["d0"]

    np.testing.assert_array_equal(got, session.infer(np.ascontiguousarray(tensor))["d0"])


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (np.zeros((1, 3, 160, 160)), "float64"),
        (np.zeros((1, 3, 160, 160), np.float16), "float16"),
        (np.zeros((1, 3, 160, 160), np.uint8), "uint8"),
        (np.zeros((3, 160, 160), np.float32), r"\(3, 160, 160\); array\[None\] makes it a batch of one"),
        (np.zeros((1, 160, 160, 3), np.float32), r"\(1, 160, 160, 3\)$"),
        (np.zeros((1, 1, 160, 160), np.float32), r"\(1, 1, 160, 160\)"),
        (np.zeros((0, 3, 160, 160), np.float32), r"\(0, 3, 160, 160\)"),
        (np.zeros((1, 3, 128, 160), np.float32), "height 160; got 128"),
        (np.zeros((1, 3, 160, 320), np.float32), "width 160; got 320"),
        ([[1.0]], "list"),
        (None, "NoneType"),
    ],
)
def test_infer_refuses_what_does_not_fit(session: Session, tensor: object, found: str) -> None:
    with pytest.raises(InputError, match=found):
        session.infer(tensor)


def test_infer_refuses_a_stream_with_a_numpy_array() -> None:
    with pytest.raises(InputError, match="stream is for device arrays"):
        fake_session(FakeBackend()).infer(np.zeros((1, 3, 32, 32), np.float32), stream=0)


def test_infer_refuses_more_than_a_fixed_batch() -> None:
    with pytest.raises(InputError, match="1 to 2 images at once; got 3"):
        fake_session(FakeBackend(InputShape(2, 32, 32))).infer(np.zeros((3, 3, 32, 32), np.float32))


def test_the_first_output_is_the_mask(tiny_onnx: Callable[..., Path]) -> None:
    with load(tiny_onnx(classes=4, last="Softmax"), preset="raw", size=(32, 32)) as session:
        image = random_pixels(32, 32, 3)
        maps = session.infer(preprocess(image, session.info.preset))["d0"][0]

        np.testing.assert_allclose(session(image), maps[1:].sum(axis=0), atol=1e-5)


@pytest.mark.parametrize("how", ["call", "batch", "infer"])
def test_a_closed_session_says_so(tiny_onnx: Callable[..., Path], how: str) -> None:
    session = load(tiny_onnx(), preset="raw", size=(32, 32))
    calls: dict[str, Callable[[], object]] = {
        "call": lambda: session(random_pixels(8, 8)),
        "batch": lambda: session.batch([random_pixels(8, 8)]),
        "infer": lambda: session.infer(np.zeros((1, 3, 32, 32), np.float32)),
    }
    calls[how]()

    session.close()

    with pytest.raises(SessionClosedError, match=r"tiny\.onnx is closed; load it again"):
        calls[how]()


def test_with_closes_after_an_error_too() -> None:
    session = fake_session(FakeBackend())

    with pytest.raises(InputError), session:
        session(None)
    with pytest.raises(SessionClosedError):
        session(random_pixels(8, 8))


def test_closing_twice_is_fine_and_info_stays() -> None:
    session = fake_session(FakeBackend())

    session.close()
    session.close()

    assert session.info.backend == "fake 1.0"


def test_a_call_under_way_finishes_when_the_session_closes() -> None:
    backend = FakeBackend()
    backend.go_on.clear()
    session = fake_session(backend)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session, np.full((8, 8), 51, np.uint8))
        assert backend.started.wait(timeout=20)
        session.close()
        backend.go_on.set()

        np.testing.assert_allclose(running.result(timeout=20), 0.2, atol=1e-6)


def test_info_says_what_runs(session: Session, small_onnx: Path, checkpoint: Checkpoint) -> None:
    info = session.info

    assert info.path == small_onnx
    assert info.backend.startswith("onnxruntime ")
    assert info.provider == "CPUExecutionProvider"
    assert info.device == Device("cpu")
    assert info.shape == InputShape(None, 160, 160)
    assert info.preset == PRESETS["reference"].with_size(160, 160)
    assert info.preset_stated
    assert info.precision == "fp32"
    assert info.variant == "u2netp"
    assert info.checkpoint_sha256 == checkpoint.sha256


def test_info_does_not_invent_what_a_file_does_not_say() -> None:
    info = fake_session(FakeBackend()).info

    assert (info.precision, info.variant, info.checkpoint_sha256) == (None, None, None)
    assert not info.preset_stated
