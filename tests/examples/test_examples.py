import importlib.util
import io
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.scenes import write_scenes
from u2net.export import BuildOptions, BuildResult, ExportOptions, build_artifacts
from u2net.model.checkpoint import load_checkpoint
from u2net.model.synthetic import make_scene
from u2net.model.training import Recipe, find_recipe
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import ArtifactError, Session, SessionClosedError, cut_out, load, to_grey
from u2net.runtime.device import Device

Picture = npt.NDArray[np.uint8]

EXAMPLES = Path(__file__).parents[2] / "examples"
FRAMES, FPS = 11, 12.0


def run_script(name: str, *words: object) -> str:
    """Run an example as ``python examples/NAME WORDS`` does; return what it prints."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return out.getvalue()


def import_example(name: str) -> ModuleType:
    """Import an example as a fresh module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_png(pixels: Picture) -> bytes:
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return png.getvalue()


@pytest.mark.parametrize("name", ["finetune.py", "photographs.py", "service.py", "video.py"])
def test_an_example_fits_a_page(name: str) -> None:
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) < 60


@pytest.fixture
def service(small_onnx: Path) -> ModuleType:
    """The service, not started."""
    module = import_example("service")
    module.__dict__["MODEL"] = str(small_onnx)
    return module


@pytest.fixture
def client(service: ModuleType) -> Iterator[TestClient]:
    """A client of the running service."""
    with TestClient(service.app) as client:
        yield client


@pytest.fixture(scope="module")
def cat(photographs: dict[str, Picture], small_onnx: Path) -> tuple[Picture, npt.NDArray[np.float32]]:
    """A photograph with an alpha channel, and its mask."""
    height, width, _ = photographs["cat"].shape
    alpha = np.linspace(0, 255, height * width).astype(np.uint8).reshape(height, width)
    with load(small_onnx) as session:
        return np.dstack([photographs["cat"], alpha]), session(photographs["cat"])


@pytest.mark.parametrize("kind", ["mask", "cutout"])
def test_the_service_answers_with_a_png(
    client: TestClient, cat: tuple[Picture, npt.NDArray[np.float32]], kind: str
) -> None:
    image, mask = cat

    answer = client.post(f"/{kind}", files={"picture": as_png(image)})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    wanted = to_grey(mask) if kind == "mask" else cut_out(image, mask)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), wanted)


@pytest.mark.parametrize("content", [b"no picture", b"", as_png(np.zeros((40, 40, 3), np.uint8))[:60]])
def test_the_service_refuses_a_damaged_picture(client: TestClient, content: bytes) -> None:
    answer = client.post("/mask", files={"picture": ("odd.png", content)})

    assert answer.status_code == 422
    assert "odd.png cannot be read as a picture" in answer.text


def test_the_service_goes_on_after_a_mistake(client: TestClient, photographs: dict[str, Picture]) -> None:
    assert client.post("/mask", files={"picture": b"no picture"}).status_code == 422
    assert client.post("/hat", files={"picture": as_png(photographs["cat"])}).status_code == 422
    assert client.post("/mask", files={"picture": as_png(photographs["cat"])}).status_code == 200


def test_the_service_loads_once_and_closes(
    service: ModuleType, monkeypatch: pytest.MonkeyPatch, photographs: dict[str, Picture]
) -> None:
    sessions: list[Session] = []

    def load_once(path: str, device: str) -> Session:
        sessions.append(load(path, device))
        return sessions[-1]

    monkeypatch.setattr(service.u2, "load", load_once)

    with TestClient(service.app) as client:
        for _ in range(2):
            client.post("/mask", files={"picture": as_png(photographs["cat"][:64, :64])})
    (session,) = sessions
    with pytest.raises(SessionClosedError):
        session(photographs["cat"])


@pytest.fixture(scope="module")
def frames(photographs: dict[str, Picture]) -> list[Picture]:
    """A woman before a light wall, moving to the left; uint8 96×128×3 RGB."""
    wide = np.asarray(Image.fromarray(photographs["astronaut"][:307]).resize((160, 96)))
    return [wide[:, 2 * index : 2 * index + 128] for index in range(FRAMES)]


def write_video(path: Path, frames: Sequence[Picture], codec: str) -> None:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), FPS, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def read_video(path: Path) -> tuple[float, list[Picture]]:
    """Frames per second, and the frames as RGB."""
    video, frames = cv2.VideoCapture(str(path)), []
    while (frame := video.read()[1]) is not None:
        frames.append(np.asarray(frame[:, :, ::-1], np.uint8))
    return video.get(cv2.CAP_PROP_FPS), frames


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "MJPG"), ("mp4", "mp4v")])
def test_a_video_keeps_its_object_and_darkens_the_rest(
    small_onnx: Path, frames: list[Picture], tmp_path: Path, suffix: str, codec: str
) -> None:
    source, target = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    write_video(source, frames, codec)

    assert run_script("video.py", small_onnx, source, target) == f"{FRAMES} frames\n"

    before, (fps, after) = read_video(source)[1], read_video(target)
    assert fps == pytest.approx(FPS)
    assert [frame.shape for frame in after] == [(96, 128, 3)] * FRAMES
    with load(small_onnx) as session:
        masks = session.batch(before)
    for old, new, mask in zip(before, after, masks, strict=True):
        wanted = old * (0.2 + 0.8 * mask[:, :, None])
        assert np.abs(new - wanted).mean() < 5, "the codec loses a little; another mask would lose more"
        for where in (mask > 0.5, mask < 0.5):
            assert new[where].mean() == pytest.approx(wanted[where].mean(), rel=0.15)
        assert new[mask < 0.02].mean() < 0.3 * old[mask < 0.02].mean()


@pytest.mark.parametrize(
    ("places", "found"),
    [
        (("nowhere.mp4", "out.mp4"), r"nowhere\.mp4 cannot be read as a video"),
        (("notes.mp4", "out.mp4"), r"notes\.mp4 cannot be read as a video"),
        (("in.avi", "nowhere/out.avi"), r"out\.avi cannot be written as a video"),
    ],
)
def test_a_video_that_cannot_be_opened_is_named(
    small_onnx: Path, frames: list[Picture], tmp_path: Path, places: tuple[str, str], found: str
) -> None:
    source, target = places
    write_video(tmp_path / "in.avi", frames[:1], "MJPG")
    (tmp_path / "notes.mp4").write_text("no video")

    with pytest.raises(SystemExit, match=found):
        run_script("video.py", small_onnx, tmp_path / source, tmp_path / target)
    assert not (tmp_path / target).exists()


def test_a_video_is_not_overwritten_by_a_mistake(small_onnx: Path, frames: list[Picture], tmp_path: Path) -> None:
    source, target = tmp_path / "in.avi", tmp_path / "out.avi"
    write_video(source, frames[:2], "MJPG")
    target.write_text("an earlier one")
    before = source.read_bytes()

    with pytest.raises(SystemExit, match="is the source"):
        run_script("video.py", small_onnx, source, source)
    with pytest.raises(ArtifactError):
        run_script("video.py", tmp_path / "nowhere.onnx", source, target)
    assert (source.read_bytes(), target.read_text()) == (before, "an earlier one")


def test_the_photographs_are_written(tmp_path: Path, photographs: dict[str, Picture]) -> None:
    folder = tmp_path / "new" / "folder"

    assert run_script("photographs.py", folder) == f"4 photographs in {folder}\n"

    assert sorted(path.stem for path in folder.iterdir()) == ["astronaut", "chelsea", "coffee", "rocket"]
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "chelsea.png")), photographs["cat"])


def test_finetuning_five_scenes_ends_in_verified_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graph and pictures are smaller than the example's, and the training takes seconds."""

    def find_small(name: str, device: Device) -> Recipe:
        return find_recipe(name, device).with_overrides(size=112, crop=96)

    def build_small(checkpoint: Path, folder: Path, options: BuildOptions, say: Callable[[str], None]) -> BuildResult:
        return build_artifacts(checkpoint, folder, replace(options, export=ExportOptions(size=(128, 128))), say)

    monkeypatch.setattr("u2net.export.build_artifacts", build_small)
    monkeypatch.setattr("u2net.model.training.find_recipe", find_small)
    write_scenes(tmp_path / "scenes", 5, seed=3, size=96)

    with pytest.raises(SystemExit) as stop:
        run_script("finetune.py", tmp_path / "scenes", tmp_path / "out", 0.05)

    assert not stop.value.code
    assert {"model.onnx", "model.fp16.onnx", "training"} <= {path.name for path in (tmp_path / "out").iterdir()}
    tuned, bundled = (
        load_checkpoint(path).network.state_dict()
        for path in (tmp_path / "out" / "training" / "u2netp.safetensors", BUNDLED_WEIGHTS)
    )
    moved = max(float((tuned[key] - value).abs().max()) for key, value in bundled.items() if key.endswith("weight"))
    assert 0 < moved < 0.1
    image, truth = make_scene(40, 96, 96)
    with load(tmp_path / "out" / "model.onnx") as session:
        mask = session(image)
    assert mask[truth > 127].mean() > mask[truth < 128].mean() + 0.2
