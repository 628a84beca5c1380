"""Reading, writing and running ONNX graphs, and their initializers."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from u2net.runtime.artifact import METADATA_KEY, Artifact, Precision
from u2net.runtime.device import CPU
from u2net.runtime.errors import ExportError
from u2net.runtime.files import check_readable, write_errors_as, written_whole
from u2net.runtime.loading import new_session
from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend
from u2net.runtime.presets import PRESETS, Preset
from u2net.runtime.session import Session

QUANTIZED = re.compile(r"(Dynamic)?(Quantize|Dequantize)Linear|QLinear.*|(Conv|MatMul)Integer")
"""Operators of a quantized graph, in QDQ and QOperator format."""


@dataclass(frozen=True)
class GraphStage:
    """An ONNX file that a stage wrote."""

    path: Path
    nodes: int
    size_bytes: int
    seconds: float
    artifact: Artifact


def read_graph(path: Path) -> ir.Model:
    """Read an ONNX file and all its weights into memory, so that the file may be replaced afterwards.

    Constant nodes, in which some exporters keep weights, become initializers.

    Raise ExportError if the file is missing or is not ONNX.
    """
    check_readable(path, ExportError)
    try:
        model = ir.external_data.load_to_model(ir.load(path))
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    except Exception as error:  # protobuf's decoding errors have no other public base class
        hint = "" if path.suffix == ".onnx" else "; if it is a checkpoint, `u2net export` makes an ONNX file of it"
        raise ExportError(f"{path} cannot be read as ONNX: {error}{hint}") from error
    return model


def find_artifact(model: ir.Model, path: Path) -> Artifact | None:
    """Return the metadata of a graph, or None. Raise ArtifactError if it is damaged."""
    text = model.metadata_props.get(METADATA_KEY)
    return None if text is None else Artifact.from_json(text, path)


def read_artifact(model: ir.Model, path: Path) -> Artifact:
    """Return the metadata of a graph for a further stage. Raise ExportError if it has none, or takes images already."""
    artifact = find_artifact(model, path)
    if artifact is None:
        raise ExportError(f"{path} was not exported by u2net: it carries no {METADATA_KEY!r} metadata")
    if artifact.image is not None:
        raise ExportError(f"{path} takes images, so no stage can follow; start from the graph that takes tensors")
    return artifact


def write_graph(model: ir.Model, path: Path, artifact: Artifact, started: float) -> GraphStage:
    """Write the graph of a stage that began at ``started``, on the performance counter, with its metadata.

    A failed or interrupted write leaves the old file in place. Raise ExportError if the folder cannot be written to.
    """
    model.metadata_props[METADATA_KEY] = artifact.to_json()
    with write_errors_as(ExportError, path), written_whole(path) as partial:
        ir.save(model, partial)
    return GraphStage(path, len(model.graph), path.stat().st_size, time.perf_counter() - started, artifact)


def open_graph(
    model: ir.Model,
    path: Path = Path("graph"),
    *,
    preset: Preset | None = None,
    assumed: Preset | None = PRESETS["raw"],
    optimize: bool = True,
) -> Session:
    """Open a graph in ONNX Runtime on the processor; messages name ``path``. Raise ArtifactError if that fails.

    For ``preset`` and ``assumed`` see :func:`new_session`, for ``optimize`` :class:`OnnxRuntimeBackend`.
    """
    backend = OnnxRuntimeBackend(ir.to_proto(model).SerializeToString(), CPU, optimize=optimize)
    return new_session(backend, path, CPU, preset=preset, assumed=assumed)


def find_precision(model: ir.Model) -> Precision:
    """Find the precision from the nodes and weights of a graph that may come from elsewhere."""
    if any(QUANTIZED.fullmatch(node.op_type) for node in model.graph):
        return "int8"
    halves = any(value.dtype == ir.DataType.FLOAT16 for value in model.graph.initializers.values())
    return "fp16" if halves else "fp32"


def add_initializer(graph: ir.Graph, name: str, numbers: npt.NDArray[Any]) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(numbers, name=name))
    graph.register_initializer(value)
    return value


def make_cast(value: ir.Value, dtype: ir.DataType) -> ir.Node:
    """Return a Cast of a value to FP16 or FP32 that is not yet part of a graph."""
    suffix = "fp16" if dtype == ir.DataType.FLOAT16 else "fp32"
    cast = ir.Value(name=f"{value.name}.{suffix}", type=ir.TensorType(dtype), shape=value.shape)
    return ir.node("Cast", [value], {"to": int(dtype)}, outputs=[cast], name=f"{value.name}.to_{suffix}")
