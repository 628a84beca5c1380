"""Compile an ONNX file into a TensorRT engine with its record."""

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from u2net.export.graph import QUANTIZED, find_artifact, find_precision, read_graph
from u2net.runtime.errors import InputError
from u2net.runtime.files import check_target
from u2net.runtime.loading import ENGINE_SUFFIXES
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.building.progress import BuildProgress
from u2net.runtime.trt.compiling import compile_engine
from u2net.runtime.trt.record import EngineRecord


@dataclass(frozen=True)
class EngineStage:
    """A written engine."""

    path: Path
    size_bytes: int
    seconds: float
    """Build time."""
    record: EngineRecord


def build_engine(
    onnx: str | Path, path: str | Path, options: EngineOptions | None = None, progress: BuildProgress | None = None
) -> EngineStage:
    """Compile an ONNX file into ``path`` and write its record, ``path`` + ``.json``, beside it.

    The graph decides between FP32, FP16 and INT8. A graph of another tool works too, but its engine has no preset.

    Raises:
        ExportError, ArtifactError: the file cannot be read as ONNX, or its metadata is damaged.
        InputError: the file was quantized for processors.
        U2NetError, KeyboardInterrupt: see :func:`u2net.runtime.trt.building.plan.build_plan`; no file is left.
    """
    onnx, path = Path(onnx), check_target(path, ENGINE_SUFFIXES)
    model = read_graph(onnx)
    artifact = find_artifact(model, onnx)
    quantized = (node for node in model.graph if QUANTIZED.fullmatch(node.op_type))
    if any(value.dtype == ir.DataType.UINT8 for node in quantized for value in (*node.inputs, *node.outputs) if value):
        raise InputError(
            f"{onnx} has uint8 values, which TensorRT would read as int8: it was quantized for processors; "
            "`u2net export --precision int8 --target tensorrt` makes a file for TensorRT"
        )
    precision = artifact.precision if artifact else find_precision(model)
    source = GraphSource(onnx, precision, model.opset_imports.get("", 0), artifact)
    record = compile_engine(source, path, options or EngineOptions(), progress)
    return EngineStage(path, record.plan_bytes, record.seconds, record)
