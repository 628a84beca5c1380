"""What a model file is, without running it."""

from pathlib import Path
from typing import Any

from u2net.runtime.device import Device
from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend


def describe_model(path: Path) -> dict[str, Any]:
    """Facts about an ONNX file for people: its shape, and its metadata where it carries any.

    Raises:
        ArtifactError: the file is missing, damaged or no U²-Net.
        DependencyError: onnxruntime is not installed.
    """
    backend = OnnxRuntimeBackend(path, Device("cpu"))
    facts: dict[str, Any] = {"kind": "ONNX graph", "input": str(backend.shape)}
    artifact = backend.artifact
    if artifact is None:
        return {**facts, "metadata": "none: not exported by u2net; name a preset when loading it"}
    return {
        **facts,
        "variant": artifact.variant,
        "precision": artifact.precision,
        "fp32_nodes": ", ".join(artifact.fp32_nodes) or "none",
        "outputs": ", ".join(artifact.outputs),
        "classes": artifact.classes,
        "opset": artifact.opset,
        "checkpoint_sha256": artifact.checkpoint_sha256,
        "preset": artifact.preset.as_dict(),
        "versions": artifact.versions,
    }
