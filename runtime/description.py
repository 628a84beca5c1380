"""Describe a model file without running it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from u2net.runtime.artifact import Artifact, Quantization
from u2net.runtime.backend import Backend
from u2net.runtime.device import CPU
from u2net.runtime.errors import ArtifactError
from u2net.runtime.loading import find_fastest
from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend
from u2net.runtime.trt.record import read_plan, record_path


def describe_model(path: Path) -> dict[str, Any]:
    """Describe an ONNX file: its input shape, and its metadata if it has any."""
    backend = OnnxRuntimeBackend(path, CPU)
    artifact = backend.artifact
    return {
        "kind": "ONNX graph",
        "input": str(artifact.image if artifact and artifact.image else backend.input.shape),
        "backend": _describe_backends(backend),
        **_describe_artifact(artifact),
    }


def describe_engine(path: Path) -> dict[str, Any]:
    """Describe a TensorRT engine from its record, without a GPU or TensorRT."""
    _, record = read_plan(path)
    if record is None:
        raise ArtifactError(f"{path} has no record ({record_path(path).name}) beside it; `u2net compile` writes one")
    if record.gpu is not None:
        gpu = f"{record.gpu}, compute capability {record.compute_capability}"
    else:
        gpu = ", ".join(record.targets) or "every GPU that TensorRT-RTX supports by default"
    return {
        "kind": "TensorRT engine",
        "built by": f"{record.flavour} {record.version} in {record.seconds} s",
        "for": gpu,
        "profiles": "\n".join(map(str, record.profiles)),
        "built from": f"{record.onnx}, SHA-256 {record.onnx_sha256}",
        "size": f"{record.plan_bytes / 1e6:.1f} MB",
        "TF32": "yes" if record.tf32 else "no",
        **({"precision": record.precision} if record.artifact is None else {}),
        **_describe_artifact(record.artifact),
    }


def _describe_backends(opened: Backend) -> str:
    made = opened.artifact.quantization if opened.artifact else None
    if made is not None and made.target == "tensorrt":
        return "TensorRT, after `u2net compile`; onnxruntime, to judge it; OpenVINO refuses it"
    fastest = "onnxruntime" if opened.input.takes_any_image else find_fastest(CPU)
    return f"onnxruntime by default; --backend auto takes {fastest} on this processor"


def _describe_artifact(artifact: Artifact | None) -> dict[str, Any]:
    if artifact is None:
        return {"metadata": "none: not exported by u2net; name a preset when loading it"}
    return {
        "variant": artifact.variant,
        "precision": artifact.precision,
        "kept in FP32": ", ".join([*artifact.fp32_nodes, *(["pre- and postprocessing"] if artifact.image else [])])
        or "none",
        **({"network": f"takes {artifact.shape} inside"} if artifact.image else {}),
        "outputs": ", ".join(artifact.outputs),
        "classes": artifact.classes,
        "opset": artifact.opset,
        **_describe_quantization(artifact.quantization),
        "checkpoint": f"SHA-256 {artifact.checkpoint_sha256}",
        "preset": asdict(artifact.preset),
        "made with": artifact.versions,
    }


def _describe_quantization(made: Quantization | None) -> dict[str, Any]:
    if made is None:
        return {}
    return {
        "quantized for": made.target,
        "calibrated": f"{made.calibrator}, on {made.calibration_images} photographs",
        "against FP32": f"{made.agreement}, on {made.held_out_images} other photographs",
        "costliest convolutions": "\n".join(f"{each.name}: {each.loss:.1e}" for each in made.losses[:-6:-1]),
    }
