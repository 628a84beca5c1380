"""Fixtures that several folders of tests share."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from skimage import data

from u2net.export.graph import GraphStage, read_artifact, read_graph
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.model.checkpoint import Checkpoint, load_checkpoint
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.files import hash_bytes, locked_folder

Image = npt.NDArray[np.uint8]

TRACED = "u2net.export.build.export_onnx"

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
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of a run share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def exported(shared_folder: Path, checkpoint: Checkpoint) -> Callable[[ExportOptions], Path]:
    """Export the bundled weights; the same options give the same file, written once for all processes of a run."""

    def export(options: ExportOptions) -> Path:
        path = shared_folder / "exported" / hash_bytes(repr(options).encode()) / "model.onnx"
        with locked_folder(path.parent, wait=True):
            return path if path.is_file() else export_onnx(checkpoint, path, options).path

    return export


@pytest.fixture(scope="session")
def export_once(
    exported: Callable[[ExportOptions], Path], checkpoint: Checkpoint
) -> Callable[[Checkpoint, Path, ExportOptions], GraphStage]:
    """Stands in for ``export_onnx``, which takes seconds: copies the file that was exported with the same options."""

    def export(source: Checkpoint, path: Path, options: ExportOptions) -> GraphStage:
        if source.sha256 != checkpoint.sha256:
            return export_onnx(source, path, options)
        graph = read_graph(Path(shutil.copy(exported(options), path)))
        return GraphStage(path, len(graph.graph), path.stat().st_size, 0.0, read_artifact(graph, path))

    return export


@pytest.fixture
def no_tracing(
    export_once: Callable[[Checkpoint, Path, ExportOptions], GraphStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Export through :func:`export_once`."""
    monkeypatch.setattr(TRACED, export_once)


@pytest.fixture(scope="session")
def small_onnx(exported: Callable[[ExportOptions], Path]) -> Path:
    """The bundled weights as FP32 ONNX of dynamic batch at 160×160."""
    return exported(ExportOptions(size=SMALL))
