"""``examples/cpp``, built against this environment's ONNX Runtime.

Its wheel has no headers: CMake looks in its usual places and in CMAKE_PREFIX_PATH. Without them the tests skip.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from PIL import Image

from tests.examples.guide import read_code
from u2net.export.image_graph import ImageOptions, fuse_images
from u2net.runtime import load, to_grey
from u2net.runtime.artifact import MaskType

Picture = npt.NDArray[np.uint8]

SOURCE = Path(__file__).parents[2] / "examples" / "cpp"

NO_NUMBERS = """<ir_version: 8, opset_import: ["": 17]> graph (uint8[n, h, w, 3] image) => (float[n, h, w] mask) {
    levels = Cast <to = 1> (image)
    grey = ReduceMean <axes = [3], keepdims = 0> (levels)
    zero = Sub (grey, grey)
    mask = Div (zero, zero)
}"""
"""A graph whose mask is NaN everywhere."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built example, with warnings as errors."""
    folder = tmp_path_factory.mktemp("cpp")
    found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not (shutil.which("cmake") and shutil.which("c++") and found):
        pytest.skip("needs CMake, a C++ compiler and a libonnxruntime.so in ONNX Runtime's wheel")
    library = folder / "libonnxruntime.so.1"  # the name under which a program looks for it
    library.symlink_to(found[-1])
    options = (f"-DONNXRUNTIME_LIB={library}", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror")
    ready = call("cmake", "-S", SOURCE, "-B", folder / "build", *options)
    if "Could not find ONNXRUNTIME_INCLUDE" in ready.stderr:
        pytest.skip("needs ONNX Runtime's headers: Debian 13's libonnxruntime-dev, or a folder in CMAKE_PREFIX_PATH")
    assert ready.returncode == 0, ready.stderr
    made = call("cmake", "--build", folder / "build")
    assert made.returncode == 0, made.stdout + made.stderr
    return folder / "build" / "mask"


@pytest.fixture
def cat(photographs: dict[str, Picture], tmp_path: Path) -> Path:
    """A photograph of 451×300 pixels as PPM."""
    Image.fromarray(photographs["cat"]).save(tmp_path / "cat.ppm")
    return tmp_path / "cat.ppm"


@pytest.fixture(scope="module")
def fused(small_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fuse_images(small_onnx, tmp_path_factory.mktemp("fused") / "fused.onnx").path


def call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], check=False, capture_output=True, text=True, timeout=120)


def assert_refused(done: subprocess.CompletedProcess[str], said: str) -> None:
    """The program ended with status 1 and one line that says why, and wrote no mask."""
    assert done.returncode == 1
    assert done.stderr.startswith("mask: ") and done.stderr.count("\n") == 1, done.stderr
    assert said in done.stderr and not done.stdout
    assert not Path(done.args[-1]).is_file()


def test_the_program_fits_two_pages() -> None:
    assert len((SOURCE / "mask.cpp").read_text(encoding="utf-8").splitlines()) < 120


@pytest.mark.parametrize("values", ["float32", "uint8"])
def test_the_mask_is_the_runtimes(
    program: Path, small_onnx: Path, photographs: dict[str, Picture], tmp_path: Path, values: MaskType
) -> None:
    model = fuse_images(small_onnx, tmp_path / "fused.onnx", ImageOptions(mask=values)).path
    with load(model) as session:
        for name, image in photographs.items():
            source, target = tmp_path / f"{name}.ppm", tmp_path / f"{name}.pgm"
            Image.fromarray(image).save(source)

            done = call(program, model, source, target)

            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            with Image.open(target) as written:
                assert (written.format, written.mode) == ("PPM", "L")
                found, wanted = np.asarray(written, np.int16), to_grey(session(image))
            assert found.shape == image.shape[:2] and np.ptp(found) > 200
            assert np.abs(found - wanted).max() <= 1, name


def test_a_header_may_have_comments(program: Path, fused: Path, cat: Path, tmp_path: Path) -> None:
    plain, commented, targets = cat.read_bytes(), tmp_path / "commented.ppm", [tmp_path / "a.pgm", tmp_path / "b.pgm"]
    pixels = plain[-451 * 300 * 3 :]
    commented.write_bytes(b"P6 # made\n# by hand, 9 9\n451\t300 # size\n255\n" + pixels)

    for source, target in zip((cat, commented), targets, strict=True):
        assert call(program, fused, source, target).returncode == 0

    assert targets[0].read_bytes() == targets[1].read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "odd.ppm cannot be read"),
        (b"", "odd.ppm is no binary PPM"),
        (b"\x89PNG\r\n", "odd.ppm is no binary PPM"),
        (b"P5 2 1 255\n\0\0", "odd.ppm is no binary PPM"),
        (b"P6 2", "odd.ppm is no PPM of some width"),
        (b"P6 0 4 255\n", "odd.ppm is no PPM of some width"),
        (b"P6 2 -1 255\n", "odd.ppm is no PPM of some width"),
        (b"P6 99999999999 1 255\n", "odd.ppm is no PPM of some width"),
        (b"P6 2 1 65535\n" + bytes(12), "with values to 255"),
        (b"P6 2 1 255\n" + bytes(5), "odd.ppm holds 5 bytes of pixels; 2 by 1 pixels, as its header says, are 6"),
        (b"P6 2 1 255\n" + bytes(7), "odd.ppm holds 7 bytes of pixels"),
        (b"P6 2147483647 2147483647 255\n\0", "odd.ppm holds 1 bytes of pixels"),
    ],
)
def test_a_file_that_is_no_picture_is_refused(
    program: Path, fused: Path, tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "odd.ppm").write_bytes(content)

    assert_refused(call(program, fused, tmp_path / "odd.ppm", tmp_path / "mask.pgm"), said)


def test_a_model_that_takes_tensors_is_refused(program: Path, small_onnx: Path, cat: Path, tmp_path: Path) -> None:
    said = "export it with u2net export --io image"

    assert_refused(call(program, small_onnx, cat, tmp_path / "mask.pgm"), said)


def test_a_model_that_cannot_be_loaded_is_refused(program: Path, cat: Path, tmp_path: Path) -> None:
    for model in (tmp_path / "nowhere.onnx", cat):
        assert_refused(call(program, model, cat, tmp_path / "mask.pgm"), str(model))


def test_a_picture_of_another_size_than_the_models_is_refused(
    program: Path, small_onnx: Path, cat: Path, tmp_path: Path
) -> None:
    model = fuse_images(small_onnx, tmp_path / "fixed.onnx", ImageOptions(source=(300, 400))).path
    said = "fixed.onnx takes pictures of 400 by 300 pixels; this one has 451 by 300 pixels"

    assert_refused(call(program, model, cat, tmp_path / "mask.pgm"), said)


def test_a_mask_without_numbers_is_refused(program: Path, cat: Path, tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(NO_NUMBERS), tmp_path / "nan.onnx")

    assert_refused(call(program, tmp_path / "nan.onnx", cat, tmp_path / "mask.pgm"), "nan.onnx gave NaN or Inf")


def test_a_mask_that_cannot_be_written_is_an_error(program: Path, fused: Path, cat: Path, tmp_path: Path) -> None:
    assert_refused(call(program, fused, cat, tmp_path / "nowhere" / "mask.pgm"), "mask.pgm cannot be written")


def test_without_its_three_words_the_program_says_its_usage(program: Path, fused: Path, tmp_path: Path) -> None:
    assert_refused(call(program, fused, tmp_path / "mask.pgm"), "usage: mask MODEL.onnx PICTURE.ppm MASK.pgm")


GUIDE_MAIN = """
#include <cstdio>
#include <cstdlib>

int main(int, char** words) {
    const int64_t height = std::atoll(words[2]), width = std::atoll(words[3]);
    std::vector<uint8_t> rgb(static_cast<size_t>(3 * height * width));
    if (std::fread(rgb.data(), 1, rgb.size(), stdin) != rgb.size()) return 1;
    const Ort::Env env;
    Ort::Session session(env, words[1], Ort::SessionOptions());
    const auto mask = compute_mask(session, rgb, height, width);
    return std::fwrite(mask.data(), sizeof(float), mask.size(), stdout) != mask.size();
}
"""


def test_the_guides_function_gives_our_mask(program: Path, fused: Path, photographs: dict[str, Picture]) -> None:
    build = program.parent
    cache = (build / "CMakeCache.txt").read_text(encoding="utf-8")
    (include,) = re.findall(r"^ONNXRUNTIME_INCLUDE:PATH=(.*)$", cache, re.MULTILINE)
    (build / "guide.cpp").write_text(read_code("cpp") + GUIDE_MAIN, encoding="utf-8")
    library = build.parent / "libonnxruntime.so.1"
    where = ("-isystem", include, library, f"-Wl,-rpath,{build.parent}")
    made = call("c++", "-std=c++17", "-Wall", "-Werror", build / "guide.cpp", "-o", build / "guide", *where)
    assert made.returncode == 0, made.stderr
    image = photographs["cat"]

    command = [str(build / "guide"), str(fused), *map(str, image.shape[:2])]
    done = subprocess.run(command, input=image.tobytes(), check=True, capture_output=True, timeout=120)

    with load(fused) as session:
        np.testing.assert_allclose(np.frombuffer(done.stdout, np.float32), session(image).ravel(), atol=1e-6)
