"""Run a graph that is still in memory, on the CPU."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx_ir as ir

from u2net.runtime.errors import DependencyError
from u2net.runtime.preprocess import FloatArray


class GraphRunner:
    """An ONNX Runtime session on a graph in memory; outputs come back by name."""

    def __init__(self, model: ir.Model, *, optimize: bool = True) -> None:
        """Load the graph.

        Args:
            optimize: let ONNX Runtime fuse and reorder; False runs each node as it is written, so that
                a pair of casts that rounds is not taken for one that does nothing.
        """
        try:
            import onnxruntime
        except ImportError:
            raise DependencyError("onnxruntime", "cpu") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        with TemporaryDirectory() as folder:
            path = Path(folder) / "graph.onnx"
            ir.save(model, path)
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, tensor: FloatArray) -> dict[str, FloatArray]:
        """Float32 N×3×H×W to every output by name."""
        values = self._session.run(None, {self._session.get_inputs()[0].name: tensor})
        return dict(zip(self._names, values, strict=True))
