"""Covers export/fetching.py against a real server on this machine that behaves well, badly or not at all."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.mirror import Server
from u2net.export.fetching import RELEASES, FetchedWeights, fetch_weights
from u2net.model.checkpoint import Checkpoint, load_checkpoint
from u2net.runtime.errors import DependencyError, ExportError, InputError

PATIENCE_OF_TESTS = 0.5
FILES = ["u2netp.json", "u2netp.onnx", "u2netp.safetensors"]


@pytest.fixture
def fetch(server: Server, tmp_path: Path) -> Callable[..., FetchedWeights]:
    """Fetch in the manner named, with little patience, into a cache of the test's own."""

    def run(manner: str, name: str = "u2netp", **more: Any) -> FetchedWeights:
        options = {"mirror": server.address(manner), "cache": tmp_path / "cache", "timeout": PATIENCE_OF_TESTS}
        return fetch_weights(name, **{**options, **more})

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("manner", ["good", "redirected"])
def test_a_checkpoint_is_recovered_beside_the_download(
    fetch: Callable[..., FetchedWeights], tmp_path: Path, checkpoint: Checkpoint, manner: str
) -> None:
    fetched = fetch(manner)

    assert fetched.path == tmp_path / "cache" / "u2netp.safetensors"
    assert (fetched.source.name, fetched.preset, fetched.refusal) == ("u2netp.onnx", "cloth", "")
    assert names(tmp_path / "cache") == FILES
    tensor = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        ours, theirs = load_checkpoint(fetched.path).network(tensor), checkpoint.network(tensor)
    assert float((ours.d0 - theirs.d0).abs().max()) <= 1e-5


@pytest.mark.parametrize(
    ("manner", "found"),
    [
        ("truncated", r"the connection broke off before the end of the file \(.*IncompleteRead"),
        ("corrupted", r"SHA256 hash .* does not match the known hash: expected \w{64} but got \w{64};"),
        ("loop", "the server redirects without end"),
        ("silent", r"the server said nothing for 0\.5 s"),
        ("stalling", r"the server said nothing for 0\.5 s"),
        ("missing", "the server answered 404 Not Found"),
    ],
)
def test_a_failure_says_what_happened_and_leaves_nothing(
    fetch: Callable[..., FetchedWeights], tmp_path: Path, manner: str, found: str
) -> None:
    started = time.monotonic()
    by_hand = r"--mirror, or save the file as .*u2netp\.onnx by hand and run `u2net import "

    with pytest.raises(ExportError, match=rf"/{manner}/u2netp\.onnx cannot be fetched: {found}.*try again.*{by_hand}"):
        fetch(manner)

    assert time.monotonic() - started < 10, "it waited for more than its timeout"
    assert names(tmp_path / "cache") == []
    assert fetch("good").recovered is not None


def closed_port() -> str:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{own.getsockname()[1]}"


@pytest.mark.parametrize(
    ("mirror", "found"),
    [
        (None, r"there is no connection: \[Errno \d+\] Connection refused;"),
        ("folder", "the mirror is an address that begins with http:// or https://; got 'folder"),
        ("ftp://127.0.0.1", "the mirror is an address"),
    ],
)
def test_no_server(fetch: Callable[..., FetchedWeights], tmp_path: Path, mirror: str | None, found: str) -> None:
    with pytest.raises((ExportError, InputError), match=found):
        fetch("", mirror=mirror or closed_port())

    assert names(tmp_path / "cache") == []


def test_a_second_call_needs_no_network_and_recovers_nothing(
    fetch: Callable[..., FetchedWeights], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch("good")
    monkeypatch.setattr("u2net.export.recovery.recover_checkpoint", pytest.fail)

    assert fetch("", mirror=closed_port()) == first
    assert len(server.seen) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_the_cache_is_made_anew(
    fetch: Callable[..., FetchedWeights], server: Server, name: str
) -> None:
    path = fetch("good").source.with_name(name)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])

    again = fetch("good")

    assert len(path.read_bytes()) == len(whole)
    assert load_checkpoint(again.path).variant == "u2netp"
    assert len(server.seen) == (2 if name == "u2netp.onnx" else 1)


def test_a_process_that_is_killed_leaves_nothing_that_is_taken(
    fetch: Callable[..., FetchedWeights], server: Server, tmp_path: Path
) -> None:
    digest, folder = RELEASES["u2netp"].digest, tmp_path / "cache"
    code = f"""
from pathlib import Path
from u2net.export.fetching import RELEASES, Release, fetch_weights
RELEASES["u2netp"] = Release({digest!r})
fetch_weights("u2netp", cache=Path({str(folder)!r}), mirror={server.address("stalling")!r})
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        assert server.half_sent.wait(60)
        process.kill()
    assert "u2netp.onnx" not in names(folder)

    assert fetch("good").recovered is not None
    assert len(server.seen) == 2


def test_what_is_no_network_of_ours_is_kept_as_onnx(fetch: Callable[..., FetchedWeights], tmp_path: Path) -> None:
    fetched = fetch("good", "silueta")

    assert fetched.path == fetched.source == tmp_path / "cache" / "silueta.onnx"
    assert (fetched.recovered, fetched.preset) == (None, "rembg")
    assert "is not a U²-Net: convolution 1 of a u2netp is stage1.rebnconvin.conv_s1" in fetched.refusal
    assert names(tmp_path / "cache") == ["silueta.onnx"]


def test_a_proxy_is_used(fetch: Callable[..., FetchedWeights], server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")

    assert fetch("", mirror="http://weights.invalid/good").recovered is not None
    assert server.seen == ["http://weights.invalid/good/u2netp.onnx"]


def test_the_cache_of_the_user(
    fetch: Callable[..., FetchedWeights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name, **_: tmp_path / "home" / name)

    assert fetch("good", cache=None).path == tmp_path / "home" / "u2net-deploy" / "u2netp.safetensors"


@pytest.mark.parametrize("package", ["pooch", "requests", "tqdm"])
def test_a_missing_package(fetch: Callable[..., FetchedWeights], monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(DependencyError, match=rf"{package} is not installed; `pip install 'u2net-deploy\[export\]'`"):
        fetch("good", progress=True)


def test_progress_is_a_bar_on_stderr(fetch: Callable[..., FetchedWeights], capsys: pytest.CaptureFixture[str]) -> None:
    fetch("good", progress=True)

    said = capsys.readouterr()
    assert (said.out, "100%|" in said.err) == ("", True)


def test_an_unknown_name(fetch: Callable[..., FetchedWeights]) -> None:
    with pytest.raises(InputError, match="there are no weights 'u3net'; there are u2net, u2netp, u2net_human_seg"):
        fetch("good", "u3net")


def test_a_cache_that_is_a_file(fetch: Callable[..., FetchedWeights], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")

    with pytest.raises(InputError, match="cache cannot be created as a folder"):
        fetch("good")
