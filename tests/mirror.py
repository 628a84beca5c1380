"""A server of published weights that behaves well, badly or not at all."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import onnx
import pytest

from u2net.export.fetching import RELEASES, Release
from u2net.export.onnx_export import ExportOptions


class Server(ThreadingHTTPServer):
    """Serves files by name in the way that the first part of the path says: ``/truncated/u2netp.onnx``."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.seen: list[str] = []
        self.half_sent, self.over = threading.Event(), threading.Event()

    def address(self, manner: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{manner}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        _, manner, name = urlsplit(self.path).path.split("/")
        self.server.seen.append(self.path)
        content = self.server.files[name]
        if manner == "silent":
            self.server.over.wait()
        elif manner == "missing":
            self.send_error(404)
        elif manner in ("redirected", "loop"):
            self.send_response(302)
            self.send_header("Location", f"/{'good' if manner == 'redirected' else manner}/{name}")
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            sent = content[:-1] + b"!" if manner == "corrupted" else content
            self.wfile.write(sent if manner in ("good", "corrupted") else sent[: len(sent) // 2])
            if manner == "stalling":
                self.server.half_sent.set()
                self.server.over.wait()


@pytest.fixture
def server(exported: Callable[[ExportOptions], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Publishes the bundled weights as u2netp, for the preset cloth, and a graph without weights as silueta."""
    stranger = onnx.helper.make_model(onnx.helper.make_graph([], "stranger", [], []))
    weights = exported(ExportOptions(size=(64, 96), batch=1)).read_bytes()
    files = {"u2netp.onnx": weights, "silueta.onnx": stranger.SerializeToString()}
    monkeypatch.setitem(RELEASES, "u2netp", Release(hashlib.sha256(weights).hexdigest(), "cloth"))
    monkeypatch.setitem(RELEASES, "silueta", Release(f"md5:{hashlib.md5(files['silueta.onnx']).hexdigest()}", "rembg"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(files) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()
