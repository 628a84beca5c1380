"""The page of examples/web in a real browser."""

import base64
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.examples.guide import read_code
from u2net.export import convert_fp16, fuse_images
from u2net.runtime import load, to_grey

Picture = npt.NDArray[np.uint8]

WEB = Path(__file__).parents[2] / "examples" / "web"
PAGE = ("index.html", "page.css", "page.js")
DONE = "document.querySelector('output').textContent.includes('ms for the mask')"
FAILED = "document.querySelector('output').className == 'bad'"


@pytest.fixture(scope="module")
def fused(small_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FP16 file that takes images."""
    folder = tmp_path_factory.mktemp("fused")
    return fuse_images(convert_fp16(small_onnx, folder / "half.onnx").path, folder / "model.onnx").path


@pytest.fixture(scope="module")
def folder(fused: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the small file, and what npm installed."""
    packages = WEB / "node_modules"
    if not (packages / "onnxruntime-web").is_dir():
        pytest.skip("onnxruntime-web is not installed: run `make web`, or `npm install` in examples/web")
    folder = tmp_path_factory.mktemp("web")
    for name in (*PAGE, "serve.py"):
        shutil.copy(WEB / name, folder)
    (folder / "node_modules").symlink_to(packages)
    shutil.copy(fused, folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Where serve.py serves the page."""
    command = [sys.executable, str(folder / "serve.py"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page of a phone's width; what it logs and what fails in it is kept in ``page.troubles``."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.troubles = []
    page.on("console", lambda message: page.troubles.append(message.text))
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    yield page
    page.close()


def choose(page: Any, pixels: Picture) -> None:
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": png.getvalue()})


def shown(page: Any) -> Picture:
    """Return the canvas, H×W×4 RGBA."""
    url = page.evaluate("document.querySelector('canvas').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_the_page_is_short() -> None:
    assert sum(len((WEB / name).read_text(encoding="utf-8").splitlines()) for name in PAGE) < 150


@pytest.mark.parametrize("name", ["astronaut", "cat"])
def test_the_page_gives_our_mask(
    page: Any, address: str, fused: Path, photographs: dict[str, Picture], name: str
) -> None:
    with load(fused) as session:
        ours = to_grey(session(photographs[name]))

    page.goto(address)
    choose(page, photographs[name])
    page.wait_for_function(DONE)
    cutout = shown(page)

    mask, opaque = cutout[..., 3], cutout[..., 3] == 255
    both, either = (mask > 127) & (ours > 127), (mask > 127) | (ours > 127)
    assert both.sum() / either.sum() >= 0.999
    assert np.abs(mask.astype(float) - ours).mean() < 0.02  # of 255 levels
    assert opaque.any() and np.array_equal(cutout[opaque][:, :3], photographs[name][opaque])
    assert page.troubles == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_headers_give_the_page_threads(page: Any, address: str, photographs: dict[str, Picture]) -> None:
    page.goto(address)
    choose(page, photographs["cat"])
    page.wait_for_function(DONE)

    cores = page.evaluate("navigator.hardwareConcurrency")
    assert page.evaluate("crossOriginIsolated")
    assert f"{min(cores, 8)} thread" in page.inner_text("output")


def test_the_last_of_two_pictures_stays_and_a_large_one_is_scaled(
    page: Any, address: str, photographs: dict[str, Picture]
) -> None:
    page.goto(address)
    page.get_by_text("Ready.").wait_for()
    page.evaluate(
        "window.said = [];"
        "new MutationObserver(() => said.push(document.querySelector('output').textContent))"
        ".observe(document.querySelector('output'), { childList: true })"
    )

    choose(page, np.asarray(Image.fromarray(photographs["astronaut"]).resize((3000, 2000))))
    choose(page, photographs["cat"])
    page.wait_for_function("said.filter((text) => text.includes('ms for the mask')).length == 2")

    masks = [text.partition(" pixels")[0] for text in page.evaluate("said") if "ms for the mask" in text]
    assert masks == ["2048 × 1366", "451 × 300"]


def test_the_camera_runs_until_it_is_stopped(page: Any, address: str) -> None:
    page.goto(address)

    page.get_by_role("button", name="Start the camera").click()
    page.wait_for_function(DONE)
    first = shown(page)
    page.wait_for_function(
        "before => document.querySelector('canvas').toDataURL() != before",
        arg=page.evaluate("document.querySelector('canvas').toDataURL()"),
    )
    page.get_by_role("button", name="Stop the camera").press("Enter")

    assert first[..., 3].min() < 50 and first[..., 3].max() > 200
    assert page.get_by_role("button", name="Start the camera").is_visible()
    assert page.troubles == []


def test_the_keyboard_reaches_every_control(page: Any, address: str) -> None:
    page.goto(address)

    reached = []
    for _ in range(2):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))

    assert reached == ["file", "camera"]  # nothing is there to be saved yet
    assert page.get_by_label("Choose a picture").count() == 1


def test_a_file_that_is_no_picture_is_told(page: Any, address: str) -> None:
    page.goto(address)

    page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"words"})
    page.wait_for_function(FAILED)

    assert page.inner_text("output").startswith("a.txt cannot be read as a picture. Choose a JPEG")


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("model.onnx", {"status": 404}, 'Run "make web"'),
        ("model.onnx", {"body": "words"}, "protobuf parsing failed"),
        ("ort.wasm.min.mjs", {"status": 404}, 'Run "make web"'),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told(
    page: Any, address: str, path: str, answer: dict[str, Any], words: str
) -> None:
    page.route(f"**/{path}", lambda route: route.fulfill(**answer))

    page.goto(address)
    page.wait_for_function(FAILED)

    text = page.inner_text("output")
    assert text.startswith("The model cannot be loaded") and words in text


def test_a_model_that_takes_tensors_is_told(page: Any, address: str, small_onnx: Path) -> None:
    page.route("**/model.onnx", lambda route: route.fulfill(path=small_onnx))

    page.goto(address)
    page.wait_for_function(FAILED)

    assert "export it with --io image" in page.inner_text("output")


def test_the_guides_page_gives_our_mask(
    page: Any, folder: Path, address: str, fused: Path, photographs: dict[str, Picture]
) -> None:
    (folder / "guide.html").write_text(read_code("html"), encoding="utf-8")
    (folder / "favicon.ico").touch()  # browsers ask for it
    Image.fromarray(photographs["cat"]).save(folder / "photo.png")
    with load(fused) as session:
        ours = to_grey(session(photographs["cat"]))

    page.goto(f"{address}/guide.html")
    page.wait_for_function("document.title == 'done'")

    assert np.abs(shown(page)[:, :, 3].astype(int) - ours).max() <= 1
    assert not page.troubles
