"""Covers cli/fetch.py and cli/import_weights.py: what they print, and one line without a traceback for each failure."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from u2net.export.fetching import RELEASES, Release
from u2net.export.onnx_export import ExportOptions
from u2net.model.checkpoint import load_checkpoint


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def onnx(exported: Callable[[ExportOptions], Path]) -> Path:
    """The bundled weights at 64×96."""
    return exported(ExportOptions(size=(64, 96), batch=1))


@pytest.fixture
def mirror(onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that has the bundled weights as u2netp, something else as silueta, and nothing more."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "u2netp.onnx").write_bytes(onnx.read_bytes())
    (folder / "silueta.onnx").write_bytes(b"")
    for name, preset in (("u2netp", "cloth"), ("silueta", "rembg")):
        digest = hashlib.sha256((folder / f"{name}.onnx").read_bytes()).hexdigest()
        monkeypatch.setitem(RELEASES, name, Release(digest, preset))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


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


def test_fetch_prints_the_path_alone_on_stdout(run_u2net: Command, mirror: str, tmp_path: Path) -> None:
    words = ("fetch", "u2netp", "--mirror", mirror, "--cache", tmp_path / "cache")

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
        ("u2net --mirror {mirror}", "u2net.onnx cannot be fetched: the server answered 404"),
        ("u2net --mirror nonsense", "the mirror is an address that begins with http:// or https://; got 'nonsense'"),
        ("u3net", "u3net"),
        ("", "name"),
    ],
)
def test_fetch_fails_in_one_line(run_u2net: Command, mirror: str, tmp_path: Path, words: str, found: str) -> None:
    said = run_u2net("fetch", *words.format(mirror=mirror).split(), "--cache", tmp_path / "cache")

    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1)
    assert found in said.stderr.lower() or found in said.stderr


def test_what_is_no_checkpoint_is_said_in_words(run_u2net: Command, mirror: str, tmp_path: Path) -> None:
    said = run_u2net("fetch", "silueta", "--mirror", mirror, "--cache", tmp_path / "cache")

    assert (said.returncode, said.stdout) == (0, f"{tmp_path / 'cache' / 'silueta.onnx'}\n")
    assert "is not a U²-Net" in said.stderr
    assert "It is no checkpoint, but the ONNX file can be used with --preset rembg" in said.stderr
