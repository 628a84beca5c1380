"""Covers cli/fetch.py and cli/import_weights.py: what they print, and one line without a traceback for each failure."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.mirror import Server
from u2net.export.onnx_export import ExportOptions
from u2net.model.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def onnx(exported: Callable[[ExportOptions], Path]) -> Path:
    """The bundled weights at 64×96."""
    return exported(ExportOptions(size=(64, 96), batch=1))


def test_import(run_u2net: Command, onnx: Path, tmp_path: Path) -> None:
    said = run_u2net("import", onnx, "-o", tmp_path / "w.safetensors")

    assert (said.returncode, said.stderr) == (0, "")
    start, _, rest = said.stdout.partition("; outputs within ")
    assert start == f"{tmp_path}/w.safetensors: u2netp, 1 output channel"
    assert float(rest.partition(" of ")[0]) < 1e-5
    assert rest.endswith(f" of {onnx}\n")
    assert load_checkpoint(tmp_path / "w.safetensors").variant == "u2netp"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("{folder}/text.onnx -o {folder}/w.safetensors", "text.onnx cannot be read as ONNX"),
        ("nowhere.onnx -o {folder}/w.safetensors", "nowhere.onnx: there is no such file"),
        ("{onnx} -o w.pth", "w.pth is not a valid name for this file; it must end in .safetensors"),
        ("{onnx} -o nowhere/w.safetensors", "there is no folder nowhere"),
        ("{onnx}", "--output"),
    ],
)
def test_import_refuses_in_one_line(run_u2net: Command, onnx: Path, tmp_path: Path, words: str, found: str) -> None:
    (tmp_path / "text.onnx").write_text("not what it should be")

    said = run_u2net("import", *words.format(folder=tmp_path, onnx=onnx).split())

    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1)
    assert found in said.stderr


def test_fetch_prints_the_path_alone_on_stdout(run_u2net: Command, server: Server, tmp_path: Path) -> None:
    words = ("fetch", "u2netp", "--mirror", server.address("good"), "--cache", tmp_path / "cache")

    first, second = run_u2net(*words), run_u2net(*words)

    assert (first.returncode, first.stdout) == (0, f"{tmp_path / 'cache' / 'u2netp.safetensors'}\n")
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, first.stderr)
    recovered, preset = first.stderr.splitlines()
    assert "u2netp, 1 output channel; outputs within " in recovered
    assert preset == "Preprocessing: --preset cloth"
    assert run_u2net("info", first.stdout.strip()).returncode == 0


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("u2netp --mirror {mirror}", "u2netp.onnx cannot be fetched: the server answered 404"),
        ("u2net --mirror nonsense", "the mirror is an address that begins with http:// or https://; got 'nonsense'"),
        ("u3net", "u3net"),
        ("", "name"),
    ],
)
def test_fetch_fails_in_one_line(run_u2net: Command, server: Server, tmp_path: Path, words: str, found: str) -> None:
    said = run_u2net("fetch", *words.format(mirror=server.address("missing")).split(), "--cache", tmp_path / "cache")

    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1)
    assert found in said.stderr.lower() or found in said.stderr


def test_what_is_no_checkpoint_is_said_in_words(run_u2net: Command, server: Server, tmp_path: Path) -> None:
    said = run_u2net("fetch", "silueta", "--mirror", server.address("good"), "--cache", tmp_path / "cache")

    assert (said.returncode, said.stdout) == (0, f"{tmp_path / 'cache' / 'silueta.onnx'}\n")
    assert "is not a U²-Net" in said.stderr
    assert "It is no checkpoint, but the ONNX file can be used with --preset rembg" in said.stderr
