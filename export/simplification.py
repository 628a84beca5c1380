"""Simplify an ONNX graph with onnxsim; the result is accepted only if it is proven equal."""

import time
from pathlib import Path

import numpy as np
import onnx_ir as ir

from u2net.export.calibration import make_tensors
from u2net.export.graph import GraphStage, open_graph, read_artifact, read_graph, write_graph
from u2net.model.synthetic import make_scenes
from u2net.runtime.artifact import Artifact
from u2net.runtime.errors import DependencyError, ExportError

TOLERANCE = 1e-6
"""Largest allowed difference of probabilities: enough for sums in another order, too little for another function."""

PROOF_SCENES = 2


def simplify_onnx(source: str | Path, path: str | Path) -> GraphStage:
    """Write the simplified graph of ``source`` to ``path``, which may be the same file.

    Raise ExportError if onnxsim fails, or if its graph has other inputs, outputs or opset, has more nodes, or computes
    other numbers on synthetic scenes.
    """
    started = time.perf_counter()
    source, path = Path(source), Path(path)
    original = read_graph(source)
    artifact = read_artifact(original, source)
    simplified = _run_onnxsim(original)
    _check_equal(original, simplified, artifact)
    return write_graph(simplified, path, artifact, started)


def _run_onnxsim(model: ir.Model) -> ir.Model:
    try:
        import onnxsim
    except ImportError:
        raise DependencyError("onnxsim", "export") from None
    try:
        simplified, _ = onnxsim.simplify(ir.to_proto(model))
    except Exception as error:  # onnxsim passes on every kind of error of its native code
        raise ExportError(f"onnxsim cannot simplify the graph: {error}") from error
    graph: ir.Model = ir.from_proto(simplified)
    return graph


def _check_equal(original: ir.Model, simplified: ir.Model, artifact: Artifact) -> None:
    """Raise ExportError unless both graphs have the same inputs and outputs and compute the same numbers."""
    wanted_edges, found_edges = _describe_edges(original), _describe_edges(simplified)
    if wanted_edges != found_edges:
        raise ExportError(f"simplifying changed inputs or outputs from {wanted_edges} to {found_edges}")
    old, new = ((each.opset_imports, f"IR version {each.ir_version}") for each in (original, simplified))
    if old != new:
        raise ExportError(f"simplifying changed the opset from {old} to {new}")
    if len(simplified.graph) > len(original.graph):
        raise ExportError(f"simplifying grew the graph from {len(original.graph)} to {len(simplified.graph)} nodes")
    before, after = open_graph(original), open_graph(simplified)
    for tensor in make_tensors(artifact, make_scenes(PROOF_SCENES)):
        wanted, found = before.infer(tensor), after.infer(tensor)
        for name, values in wanted.items():
            largest = float(np.abs(values - found[name]).max())
            if not largest <= TOLERANCE:
                raise ExportError(f"simplifying changed {name} by {largest:.3g}; rounding explains at most {TOLERANCE}")


def _describe_edges(model: ir.Model) -> list[tuple[str | None, str, str]]:
    return [(value.name, str(value.dtype), str(value.shape)) for value in (*model.graph.inputs, *model.graph.outputs)]
