"""Graph files: read, write whole or not at all, count."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from u2net.runtime.artifact import METADATA_KEY, Artifact
from u2net.runtime.errors import ExportError
from u2net.runtime.files import written_whole

QUANTIZED = re.compile(r"(Dynamic)?(Quantize|Dequantize)Linear|QLinear.*|(Conv|MatMul)Integer")
"""Operators of a quantized graph, in QDQ and QOperator format."""


@dataclass(frozen=True)
class GraphStage:
    """What a stage wrote."""

    path: Path
    nodes: int
    size_bytes: int
    seconds: float
    artifact: Artifact


def read_graph(path: Path) -> ir.Model:
    """Read an ONNX file, weights too, so that the file may be replaced afterwards.

    Raises:
        ExportError: the file is missing or no ONNX.
    """
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file")
    try:
        return ir.from_proto(ir.to_proto(ir.load(path)))
    except Exception as error:  # protobuf's decoding errors share no public root but this one
        raise ExportError(f"{path} cannot be read as ONNX: {error}") from error


def read_artifact(model: ir.Model, path: Path) -> Artifact:
    """Metadata of a graph that this project exported.

    Raises:
        ExportError: it carries none.
    """
    text = model.metadata_props.get(METADATA_KEY)
    if text is None:
        raise ExportError(f"{path} was not exported by u2net: it carries no {METADATA_KEY!r} metadata")
    return Artifact.from_json(text)


def write_graph(model: ir.Model, path: Path, artifact: Artifact) -> None:
    """Write a graph with its metadata, under a temporary name first, so that no half-written file is left.

    Raises:
        ExportError: the folder is missing or not writable.
    """
    model.metadata_props[METADATA_KEY] = artifact.to_json()
    try:
        with written_whole(path) as partial:
            ir.save(model, partial)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error


def find_precision(model: ir.Model) -> str:
    """``int8``, ``fp16`` or ``fp32``, from the nodes and weights of a graph that may come from elsewhere."""
    if any(QUANTIZED.fullmatch(node.op_type) for node in model.graph):
        return "int8"
    halves = any(value.dtype == ir.DataType.FLOAT16 for value in model.graph.initializers.values())
    return "fp16" if halves else "fp32"


def constant(name: str, numbers: npt.NDArray[Any]) -> ir.Value:
    """An initializer's value, not yet registered with a graph."""
    tensor = ir.tensor(numbers, name=name)
    return ir.Value(name=name, shape=ir.Shape(numbers.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
