"""Fixtures that several folders of tests share."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
import pytest
from skimage import data

from tests.mirror import server  # noqa: F401
from u2net.export.graph import read_graph
from u2net.export.onnx_export import ExportOptions, export_onnx, trace_network
from u2net.model.checkpoint import Checkpoint, load_checkpoint
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.files import hash_bytes, locked_folder

Image = npt.NDArray[np.uint8]
MakeOnce = Callable[[str, str, Callable[[Path], object]], Path]

SMALL = (160, 160)
"""Height and width at which tests run the network where the size does not matter."""


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """The bundled weights: trained, so that their outputs span [0, 1]."""
    return load_checkpoint(BUNDLED_WEIGHTS)


@pytest.fixture(scope="session")
def photographs() -> dict[str, Image]:
    """Real photographs that scikit-image carries, uint8 H×W×3 RGB."""
    return {"astronaut": data.astronaut(), "cat": data.chelsea(), "coffee": data.coffee(), "rocket": data.rocket()}


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> MakeOnce:
    """Return the path of a file of this key and name, which is written once for all processes of a run."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    def make(key: str, name: str, write: Callable[[Path], object]) -> Path:
        path = shared / hash_bytes(key.encode())[:8] / name
        with locked_folder(path.parent, wait=True):
            if not path.is_file():
                write(path)
        return path

    return make


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, with a simulated camera."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: it is Debian's package of that name")
    words = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium, args=words)
        yield found
        found.close()


@pytest.fixture(scope="session", autouse=True)
def threads_that_sleep(worker_id: str) -> Iterator[None]:
    """Where several processes share the processor, let ONNX Runtime's threads sleep instead of spin while they wait."""
    options = onnxruntime.SessionOptions

    def make_options() -> onnxruntime.SessionOptions:
        made = options()
        made.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return made

    with pytest.MonkeyPatch.context() as patch:
        if worker_id != "master":
            patch.setattr("onnxruntime.SessionOptions", make_options)
        yield


@pytest.fixture(scope="session", autouse=True)
def traced_once(make_once: MakeOnce) -> Iterator[None]:
    """Trace each network once for all processes of a run: it takes seconds, and the rest of an export does not."""

    def trace(checkpoint: Checkpoint, outputs: tuple[str, ...], odd_size: tuple[int, int] | None) -> ir.Model:
        key = repr((checkpoint.sha256, checkpoint.network, outputs, odd_size))
        return read_graph(
            make_once(key, "traced.onnx", lambda path: ir.save(trace_network(checkpoint, outputs, odd_size), path))
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("u2net.export.onnx_export.trace_network", trace)
        yield


@pytest.fixture(scope="session")
def exported(make_once: MakeOnce, checkpoint: Checkpoint) -> Callable[[ExportOptions], Path]:
    """Export the bundled weights; the same options give the same file."""

    def export(options: ExportOptions) -> Path:
        return make_once(repr(options), "model.onnx", lambda path: export_onnx(checkpoint, path, options))

    return export


@pytest.fixture(scope="session")
def small_onnx(exported: Callable[[ExportOptions], Path]) -> Path:
    """The bundled weights as FP32 ONNX of dynamic batch at 160×160."""
    return exported(ExportOptions(size=SMALL))
