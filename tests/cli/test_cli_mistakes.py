"""Covers cli/options.py and mistakes at each command: one line on stderr, status 2, no traceback, nothing written."""

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Command
from tests.scenes import write_scenes

Places = dict[str, Path]


@pytest.fixture
def places(tmp_path: Path, built_onnx: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Paths that a case may name; relative ones are in a folder of the test's own."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    given = {
        "model": built_onnx,
        "pictures": pictures,
        "text": tmp_path / "notes.txt",
        "text_onnx": tmp_path / "notes.onnx",
        "text_pth": tmp_path / "notes.pth",
        "stranger": tmp_path / "stranger.pth",
        "empty": tmp_path / "empty",
        "scenes": tmp_path / "scenes",
    }
    for name in ("text", "text_onnx", "text_pth"):
        given[name].write_text("not what it should be")
    torch.save({"weight": torch.zeros(3)}, given["stranger"])
    given["empty"].mkdir()
    write_scenes(given["scenes"], 3, size=32)
    return given


def refusal(run_u2net: Command, places: Places, words: str) -> str:
    """Run a command that must fail; return its one line on stderr without the program's name."""
    said = run_u2net(*words.format(**places).split())

    assert said.returncode == 2, said.stdout + said.stderr
    assert said.stderr.count("\n") == 1, said.stderr
    assert said.stderr.startswith("u2net: ")
    assert said.stdout == "", "said before the work"
    return said.stderr.removeprefix("u2net: ")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("build nowhere.pth", "nowhere.pth: there is no such file"),
        ("export nowhere.pth", "nowhere.pth: there is no such file"),
        ("verify nowhere.pth {model}", "nowhere.pth: there is no such file"),
        ("verify {model} nowhere.onnx", "nowhere.onnx: there is no such file"),
        ("bench nowhere.onnx", "nowhere.onnx: there is no such file"),
        ("bench {model} --reference nowhere.pth", "nowhere.pth: there is no such file"),
        ("run nowhere.onnx {pictures}", "nowhere.onnx: there is no such file"),
        ("run {model} nowhere.png", "nowhere.png cannot be read as a picture"),
        ("info nowhere.pth", "nowhere.pth: there is no such file"),
        ("info nowhere.onnx", "nowhere.onnx: there is no such file"),
        ("train nowhere -o run", "nowhere is not a folder"),
        ("eval {model} nowhere", "is not a folder"),
        ("eval nowhere.onnx {scenes}", "there is no such file"),
        (
            "train {scenes} -o run --crop 32 --size 32 --batch 2 --init nowhere.pth",
            "nowhere.pth: there is no such file",
        ),
        ("train {scenes} -o run --crop 32 --size 32 --batch 2 --resume", "nothing to resume"),
        ("run {model} {empty}", "empty holds no picture"),
        ("export {text_pth}", "notes.pth"),
        ("export {stranger}", "stranger.pth is not a U²-Net"),
        ("build {stranger}", "stranger.pth is not a U²-Net"),
        ("info {text}", "notes.txt"),
        ("info {text_onnx}", "notes.onnx cannot be loaded"),
        ("info {empty}", "empty is not a file"),
        ("verify {stranger} {model}", "stranger.pth is not a U²-Net"),
        ("verify {model} {text_onnx}", "notes.onnx cannot be read as ONNX"),
        ("bench {text_onnx}", "notes.onnx cannot be loaded"),
        ("bench {text_pth}", "notes.pth cannot be read as a PyTorch checkpoint: its format is not known"),
        ("run {text_onnx} {pictures}", "notes.onnx cannot be loaded"),
        ("run {text_pth} {pictures}", "the runtime loads .onnx and .engine, .plan, .trt files"),
        ("train {empty} -o run", "empty has no folder for its images"),
    ],
)
def test_what_is_not_there_or_something_else(run_u2net: Command, places: Places, words: str, found: str) -> None:
    assert found in refusal(run_u2net, places, words)


@pytest.mark.parametrize("command", ["export", "build"])
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("--size big", "--size is a number, HEIGHTxWIDTH or dynamic; got 'big'"),
        ("--size 64x", "--size is a number"),
        ("--size 64x64x64", "--size is a number"),
        ("--size -64", "--size is a number"),
        ("--batch 99999999999999999999", "batch is 1 to 16384"),
        (f"--size {'9' * 5000}", "--size is a number"),
        ("--batch two", "--batch is a number or dynamic; got 'two'"),
        ("--opset 3", "opset is 17 to 21; got 3"),
        ("--preset nice", "there is no preset 'nice'; there are reference, rembg"),
    ],
)
def test_an_option_of_the_export(run_u2net: Command, places: Places, command: str, words: str, found: str) -> None:
    assert found in refusal(run_u2net, places, f"{command} {words}")
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("export --precision int4", "int4"),
        ("export --promise 0.9,0.9,1 --target cpu", "--target, --promise: only for an INT8 file; add --precision int8"),
        ("build --target tensorrt", "--target: only for an INT8 file"),
        ("bench --suite --name a/b", "--name is the name of files, without a folder"),
        ("export --precision int8", "name a folder of some 200 with --images"),
        ("build --precision int8", "name a folder of some 200 with --images"),
        ("export --precision int8 --images {pictures}", "INT8 takes at least 16, better some 200"),
        ("export --precision int8 --images {pictures} --promise 0.9", "--promise is three numbers, such as 0.99,"),
        ("export --precision int8 --images {pictures} --promise 2,0.9,1", "a promise has IoUs from 0 to 1"),
        ("export --images {pictures}", "--images calibrate FP16 and INT8; add --precision fp16 or int8"),
        ("info {model} --weights ema", "--weights chooses between those of a checkpoint"),
        ("build --no-engine --flavour tensorrt", "leave out --no-engine"),
        ("bench {model} --json {model}", "must end in .json"),
        ("eval {model} {scenes} --preset odd", "odd"),
        ("eval {model} {scenes} --device cuda:9", "cuda"),
        ("eval {model} {scenes} --sheet nowhere/sheet.png", "nowhere/sheet.png cannot be written"),
        ("eval {model} {scenes} --sheet sheet.jpg", "sheet.jpg is not a valid name for this file; it must end in .png"),
        ("eval {model} {scenes} --json nowhere/s.json", "nowhere/s.json cannot be written"),
        ("export nowhere.pth -o u2net.pth", "u2net.pth is not a valid name for this file; it must end in .onnx"),
        ("export nowhere.pth -o model", "model is not a valid name for this file"),
        ("export nowhere.pth -o nowhere/model.onnx", "there is no folder nowhere"),
        ("eval {model} {scenes} --sheet {scenes}/images/0000.png", "0000.png is a picture of the data set"),
        (f"info {{model}} --device cuda:{'9' * 5000}", "--device"),
        ("verify {model} {model} --preset nice", "there is no preset 'nice'"),
        ("run {model} {pictures} --preset nice", "there is no preset 'nice'"),
        ("bench {model} --batch 1,,2", "--batch takes whole numbers separated by commas; got '1,,2'"),
        ("bench {model} --batch few", "--batch takes whole numbers separated by commas"),
        ("bench {model} --rounds 1", "at least 2 rounds"),
        ("train {scenes} -o run --recipe mine", "there is no recipe 'mine'; there are authors"),
        ("train {scenes} -o run --variant u3net", "there is no variant 'u3net'"),
        ("train {scenes} -o run --lr inf", "learning rate"),
        ("train {scenes} -o run --minutes inf", "minutes must be above 0 and finite"),
        ("train {scenes} -o run --crop 32 --size 32 --batch 2 --device abacus", "abacus"),
    ],
)
def test_another_option(run_u2net: Command, places: Places, words: str, found: str) -> None:
    assert found in refusal(run_u2net, places, words)


RUNNERS = ["build", "verify {model} {model}", "bench {model}", "run {model} {pictures}"]
"""Commands that take a device."""


@pytest.mark.parametrize("words", RUNNERS)
def test_a_device_that_does_not_exist(run_u2net: Command, places: Places, words: str) -> None:
    found = refusal(run_u2net, places, f"{words} --device abacus")

    assert found == "Invalid value for '--device': there is no device 'abacus'; a device is cpu, cuda or cuda:N\n"


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize("words", [*RUNNERS, "train {scenes} -o run --crop 32 --size 32 --batch 2"])
def test_a_gpu_that_is_not_there(run_u2net: Command, places: Places, words: str) -> None:
    assert "cuda" in refusal(run_u2net, places, f"{words} --device cuda").lower()


@pytest.mark.parametrize("words", ["build --size 64", "export --size 64 --precision fp16", "verify {model} {model}"])
@pytest.mark.parametrize(("folder", "found"), [("nowhere", "is not a folder"), ("{empty}", "holds no picture")])
def test_a_folder_of_images_that_cannot_be_used(
    run_u2net: Command, places: Places, words: str, folder: str, found: str
) -> None:
    assert found in refusal(run_u2net, places, f"{words} --images {folder}")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("export -o {text}/model.onnx", "model.onnx cannot be written"),
        ("export -o {empty}", "empty is not a valid name for this file; it must end in .onnx"),
        ("build -o {text}", "notes.txt cannot be created as a folder"),
        ("run {model} {pictures} -o {text}", "notes.txt cannot be created as a folder"),
        ("train {scenes} --crop 32 --size 32 --batch 2 --epochs 1 -o {text}", "notes.txt"),
    ],
)
def test_something_in_the_way_of_the_output(run_u2net: Command, places: Places, words: str, found: str) -> None:
    assert found in refusal(run_u2net, places, words)
    assert places["text"].read_text() == "not what it should be"
    assert not list(places["text"].parent.rglob("*.partial"))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("nonsense", "nonsense"),
        ("bench", "models"),
        ("verify {model}", "candidates"),
        ("export --opset many", "--opset"),
        ("export --opset", "--opset"),
        ("export --loudly", "--loudly"),
        ("bench {model} --rounds few", "--rounds"),
        ("train {scenes}", "--output"),
    ],
)
def test_words_that_are_no_command_line(run_u2net: Command, places: Places, words: str, found: str) -> None:
    assert found.lower() in refusal(run_u2net, places, words).lower()
