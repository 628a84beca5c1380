"""What an engine really runs, layer by layer, as TensorRT's inspector tells it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from u2net.runtime.trt.api import ICudaEngine, IExecutionContext, TensorRT

PRECISIONS = {"int8": "int8", "bf16": "bf16", "fp16": "fp16", "half": "fp16", "fp32": "fp32", "float": "fp32"}
"""Words in a tensor's format and what they mean, the first that is found; wordings differ between versions."""


@dataclass(frozen=True)
class Layer:
    """One kernel, or several that TensorRT runs as one."""

    name: str
    kind: str
    """TensorRT's word for the layer's type: ``CaskConvolution``, ``Reformat``, ``Resize``…"""
    precision: str
    """Of its outputs; empty where TensorRT does not say."""
    convolution: bool
    fused: bool
    """A convolution with its bias and its ReLU in one kernel."""
    tactic: str
    """Name of the kernel; empty where TensorRT does not say."""


@dataclass(frozen=True)
class LayerSummary:
    """What speed work looks at first."""

    layers: int
    convolutions: int
    fused_convolutions: int
    """With bias and ReLU in the same kernel."""
    reformats: int
    """Copies that TensorRT put in to change a tensor's format."""
    lone_resizes: tuple[str, ...]
    """Upsamplings that are a kernel of their own."""
    precisions: Mapping[str, int]
    """How many layers give each precision."""

    def lines(self) -> list[str]:
        """The counts in words."""
        precisions = ", ".join(f"{count} {name}" for name, count in self.precisions.items())
        lone = f" ({', '.join(self.lone_resizes)})" if self.lone_resizes else ""
        return [
            f"layers: {self.layers} ({precisions})",
            f"convolutions with bias and ReLU in one kernel: {self.fused_convolutions} of {self.convolutions}",
            f"copies that only change a tensor's format: {self.reformats}",
            f"upsamplings that are kernels of their own: {len(self.lone_resizes)}{lone}",
        ]


def read_layers(trt: TensorRT, engine: ICudaEngine, context: IExecutionContext) -> tuple[Layer, ...]:
    """Layers of an engine; the context must have its shape set, or formats of a dynamic one are not told."""
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return parse_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def parse_layers(text: str) -> tuple[Layer, ...]:
    """Layers out of the inspector's JSON. An engine built without details gives names alone."""
    found: list[Any] = json.loads(text).get("Layers", [])
    return tuple(_parse(each) if isinstance(each, dict) else _named(str(each)) for each in found)


def summarize_layers(layers: Sequence[Layer]) -> LayerSummary:
    """Count what speed work looks at."""
    precisions: dict[str, int] = {}
    for layer in layers:
        precisions[layer.precision or "unknown"] = precisions.get(layer.precision or "unknown", 0) + 1
    convolutions = [layer for layer in layers if layer.convolution]
    return LayerSummary(
        layers=len(layers),
        convolutions=len(convolutions),
        fused_convolutions=sum(layer.fused for layer in convolutions),
        reformats=sum(layer.kind == "Reformat" for layer in layers),
        lone_resizes=tuple(layer.name for layer in layers if layer.kind == "Resize"),
        precisions=precisions,
    )


def _parse(facts: dict[str, Any]) -> Layer:
    kind = str(facts.get("LayerType", ""))
    convolution = facts.get("ParameterType") == "Convolution" or "conv" in kind.lower()
    relu = bool(facts.get("HasReLU")) or facts.get("Activation") == "RELU"
    return Layer(
        name=str(facts.get("Name", "")),
        kind=kind,
        precision=_precision(facts.get("Outputs") or facts.get("Inputs") or []),
        convolution=convolution,
        fused=convolution and relu and bool(facts.get("HasBias")),
        tactic=str(facts.get("TacticName", "")),
    )


def _named(name: str) -> Layer:
    return Layer(name, "", "", convolution=False, fused=False, tactic="")


def _precision(tensors: Sequence[Mapping[str, Any]]) -> str:
    wording = str(tensors[0].get("Format/Datatype", "")).lower() if tensors else ""
    return next((meaning for word, meaning in PRECISIONS.items() if word in wording), "")
