"""ONNX to a TensorRT engine with its record."""

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from u2net.export.graph import read_graph
from u2net.runtime.artifact import METADATA_KEY, Artifact
from u2net.runtime.files import check_target
from u2net.runtime.loading import ENGINE_SUFFIXES
from u2net.runtime.trt.building import Source, build_plan
from u2net.runtime.trt.inspection import keep_layers
from u2net.runtime.trt.options import EngineOptions
from u2net.runtime.trt.progress import Progress
from u2net.runtime.trt.record import EngineRecord, describe_plan, write_engine


@dataclass(frozen=True)
class EngineStage:
    """An engine that was written."""

    path: Path
    size_bytes: int
    seconds: float
    record: EngineRecord


def build_engine(
    onnx: Path, path: Path, options: EngineOptions | None = None, progress: Progress | None = None
) -> EngineStage:
    """Compile an ONNX file into ``path`` and write ``path`` + ``.json`` beside it.

    FP16 or FP32 is as the graph says. A graph that this project did not export is taken too, but its engine
    then has no preset.

    Raises:
        EngineBuildError: TensorRT cannot parse or build it.
        ExportError: the file cannot be read as ONNX.
        InputError: an option cannot be used, or the graph cannot do what was asked for.
        DependencyError: no TensorRT is installed.
        DeviceError: the full TensorRT has no GPU to build on.
        KeyboardInterrupt: Ctrl-C; no file is left.
    """
    options = options or EngineOptions()
    check_target(path, ENGINE_SUFFIXES)
    source, artifact = read_source(onnx)
    plan = build_plan(source, options, progress)
    record = describe_plan(plan, source, options, path, artifact)
    write_engine(path, plan, record)
    if plan.gpu is not None:
        record = keep_layers(path, options.device)
    return EngineStage(path, len(plan.content), plan.seconds, record)


def read_source(onnx: Path) -> tuple[Source, Artifact | None]:
    """What the builder must know of a graph, and its metadata where it carries any.

    Raises:
        ExportError: the file is missing or no ONNX.
        ArtifactError: its metadata is damaged.
    """
    model = read_graph(onnx)
    text = model.metadata_props.get(METADATA_KEY)
    opset = model.opset_imports.get("", 0)
    if text is None:
        return Source(onnx, _precision(model), opset), None
    artifact = Artifact.from_json(text)
    return Source(onnx, artifact.precision, opset, artifact.fp32_nodes, artifact.preset), artifact


def _precision(model: ir.Model) -> str:
    halves = any(value.dtype == ir.DataType.FLOAT16 for value in model.graph.initializers.values())
    return "fp16" if halves else "fp32"
