"""From a checkpoint to verified model files: each stage one function, usable alone."""

from u2net.export.build import BuildOptions, BuildResult, build_artifacts, export_model
from u2net.export.engine import EngineStage, build_engine
from u2net.export.fetching import FetchedWeights, fetch_weights
from u2net.export.fp16 import convert_fp16
from u2net.export.graph import GraphStage
from u2net.export.image_graph import ImageOptions, fuse_images
from u2net.export.int8 import Int8Options, quantize_int8
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.export.parity import StageParity, VerifyOptions, verify_models
from u2net.export.recovery import RecoveredWeights, recover_checkpoint
from u2net.export.simplification import simplify_onnx
from u2net.runtime.trt.building.engine_options import EngineOptions

__all__ = [
    "BuildOptions",
    "BuildResult",
    "EngineOptions",
    "EngineStage",
    "ExportOptions",
    "FetchedWeights",
    "GraphStage",
    "ImageOptions",
    "Int8Options",
    "RecoveredWeights",
    "StageParity",
    "VerifyOptions",
    "build_artifacts",
    "build_engine",
    "convert_fp16",
    "export_model",
    "export_onnx",
    "fetch_weights",
    "fuse_images",
    "quantize_int8",
    "recover_checkpoint",
    "simplify_onnx",
    "verify_models",
]
