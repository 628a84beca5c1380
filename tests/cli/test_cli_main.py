"""Covers cli/main.py and app.py: how the command starts, ends and fails."""

import errno
import os
import signal
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess
from typing import NoReturn

import pytest

from tests.cli.conftest import Command
from u2net.cli.main import EXTRAS
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.trt.layers import Layer
from u2net.runtime.trt.running.inspection import Inspection

COMMANDS = ("build", "export", "verify", "bench", "run", "train", "fetch", "import", "info", "doctor")
RUN_NOTHING = ("export", "fetch", "import", "info", "doctor")


def test_no_words_print_the_help(run_u2net: Command) -> None:
    said = run_u2net()

    assert "Usage: " in said.stdout + said.stderr
    for name in COMMANDS:
        assert f"  {name} " in said.stdout + said.stderr
    assert "..." not in said.stdout.partition("Commands:")[2], "a summary is cut"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run_u2net: Command, name: str) -> None:
    said = run_u2net(name, "--help")

    assert said.returncode == 0
    assert f"{name} [OPTIONS]" in said.stdout
    assert "--device" in said.stdout or name in RUN_NOTHING, "what runs takes a device"


def test_the_installed_script_runs() -> None:
    script = Path(sysconfig.get_path("scripts")) / "u2net"

    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, f"u2net-deploy {version('u2net-deploy')}\n")


def run_without(module: str, *words: object) -> CompletedProcess[str]:
    """Run the command in a Python that has no such module."""
    code = f"import sys; sys.modules[{module!r}] = None; from u2net.cli.main import main; main()"
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("typer", ("--version",), "cli"),
        ("rich", ("--version",), "cli"),
        ("torch", ("export",), "export"),
        ("onnx_ir", ("export",), "export"),
        ("lightning_fabric", ("train", "data", "-o", "there"), "train"),
        ("onnxruntime", ("info", "m.onnx"), "cpu"),
    ],
)
def test_a_missing_package_is_one_line_with_its_extra(module: str, words: tuple[str, ...], extra: str) -> None:
    said = run_without(module, *words)

    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"u2net: {module} is not installed; `pip install 'u2net-deploy[{extra}]'` installs it\n"


def test_a_package_without_the_module_that_another_wants_is_too_old() -> None:
    said = run_without("rich.console", "--version")

    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == (
        "u2net: rich is too old, it lacks rich.console; `pip install --upgrade rich` brings a newer one\n"
    )


@pytest.mark.parametrize("module", ["torch", "onnx"])
def test_running_a_model_needs_neither_torch_nor_onnx(
    module: str, built_onnx: Path, pictures: Path, tmp_path: Path
) -> None:
    said = run_without(module, "run", built_onnx, pictures / "coffee.png", "-o", tmp_path)

    assert (said.returncode, said.stderr) == (0, "")
    assert (tmp_path / "coffee.mask.png").is_file()

    said = run_without(module, "info", built_onnx)

    assert (said.returncode, said.stderr) == (0, "")
    assert "checkpoint" in said.stdout


def test_every_extra_that_is_named_exists() -> None:
    from importlib.metadata import metadata

    assert set(EXTRAS) <= set(metadata("u2net-deploy").get_all("Provides-Extra") or [])


def test_a_missing_module_that_no_extra_brings_is_not_hidden(
    run_u2net: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> NoReturn:
        raise ModuleNotFoundError("No module named 'odd'", name="odd.part")

    monkeypatch.setattr("u2net.runtime.doctor.examine", fail)

    with pytest.raises(ModuleNotFoundError, match="odd"):
        run_u2net("doctor")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_quietly(
    run_u2net: Command, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr("u2net.runtime.doctor.examine", lambda: signal.raise_signal(number))

    said = run_u2net("doctor")

    assert said.returncode == 130
    assert "Traceback" not in said.stderr


def test_an_empty_argument_is_refused(run_u2net: Command) -> None:
    assert run_u2net("run", "m.onnx", "", "-o", "there").stderr.startswith("u2net: an argument is empty")


def test_what_no_stage_foresaw_is_one_line_too(run_u2net: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_file: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "m.onnx")

    monkeypatch.setattr("u2net.runtime.description.describe_model", fail)

    said = run_u2net("info", "m.onnx")

    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"u2net: [Errno {errno.EIO}] {os.strerror(errno.EIO)}: 'm.onnx'\n"


def test_an_error_does_not_steer_the_terminal(run_u2net: Command) -> None:
    said = run_u2net("info", "a\x1b[31mb.pth")

    assert said.stderr == "u2net: a\N{REPLACEMENT CHARACTER}[31mb.pth: there is no such file\n"


def test_text_from_a_record_does_not_steer_the_terminal(run_u2net: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Layer("conv\x1b[31m", "Convolution", "fp16", convolution=True, fused=False, tactic="")
    found = Inspection((layer,), {}, "on a GPU\x1b[2J")
    monkeypatch.setattr("u2net.runtime.trt.running.inspection.inspect_engine", lambda *_: found)

    said = run_u2net("inspect", "a\x1b[0m.engine")

    assert "\x1b" not in said.stdout
    assert said.stdout.count("\N{REPLACEMENT CHARACTER}") == 3


def test_a_name_that_the_output_cannot_encode_is_spelt_out(built_onnx: Path, pictures: Path, tmp_path: Path) -> None:
    picture = tmp_path / "日.png"
    picture.write_bytes((pictures / "coffee.png").read_bytes())
    code = "from u2net.cli.main import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", code, "run", built_onnx, picture, "-o", tmp_path / "o"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u65e5.png \\u2192 " in done.stdout


def test_the_bundled_weights_stand_in_for_a_checkpoint(run_u2net: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("u2net.model.weights.BUNDLED_WEIGHTS", Path("bundled.pth"))

    for name in ("build", "export"):
        assert run_u2net(name).stderr == "u2net: bundled.pth: there is no such file\n"
    assert BUNDLED_WEIGHTS.is_file()
