"""Serve this folder at http://localhost:8000, or at another port: ``serve.py PORT``.

A page may use threads only if it comes with the two headers below.
"""

import sys
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    """Sends files with the headers; a browser refuses scripts and WebAssembly that have other types."""

    extensions_map = {  # noqa: RUF012  # the base class declares it so
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")  # a newly exported file is seen at once
        super().end_headers()


port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
with ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(Path(__file__).parent))) as server:
    print(f"http://localhost:{server.server_port}", flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()
