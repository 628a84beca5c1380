"""Run a graph that is in memory."""

from pathlib import Path

import onnx_ir as ir

from u2net.runtime.device import CPU
from u2net.runtime.loading import new_session
from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend
from u2net.runtime.presets import PRESETS
from u2net.runtime.session import Session


def open_graph(model: ir.Model, path: Path = Path("graph"), *, optimize: bool = True) -> Session:
    """Open a graph in ONNX Runtime on the processor.

    Args:
        path: file that messages name.
        optimize: False runs each node as it is written; see :class:`OnnxRuntimeBackend`.

    Raises:
        ArtifactError: ONNX Runtime cannot load the graph.
    """
    backend = OnnxRuntimeBackend(ir.to_proto(model).SerializeToString(), CPU, optimize=optimize)
    return new_session(backend, path, CPU, assumed=PRESETS["raw"])
