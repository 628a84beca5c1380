"""Layers of an engine, as TensorRT's engine inspector reports them."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from u2net.runtime.trt.api import ICudaEngine, IExecutionContext, TensorRTModule

PRECISIONS = {"int8": "int8", "bf16": "bf16", "fp16": "fp16", "half": "fp16", "fp32": "fp32", "float": "fp32"}
"""Words in the description of a tensor's format, which differ between versions. The first one found counts."""

KERNEL_PRECISIONS = {"i8i8": "int8", "bf16bf16": "bf16", "f16f16": "fp16", "f32f32": "fp32", "fp32": "fp32"}
"""Words in the name of a convolution's kernel, because TensorRT 8.6 reports no formats for dynamic shapes."""


@dataclass(frozen=True)
class Layer:
    """A layer of the compiled network, which may combine several layers of the graph."""

    name: str
    kind: str
    """TensorRT's name of the layer type, such as ``CaskConvolution``, ``Reformat`` or ``Resize``."""
    precision: str
    """Precision of a convolution's inputs and of other layers' outputs; empty if TensorRT does not report it."""
    convolution: bool
    fused: bool
    """True for a convolution with bias and ReLU in one kernel."""
    tactic: str
    """Name of the kernel; empty if TensorRT does not report it."""


def read_layers(trt: TensorRTModule, engine: ICudaEngine, context: IExecutionContext) -> tuple[Layer, ...]:
    """Read the layers of an engine. Without a shape set in the context, TensorRT does not report dynamic formats."""
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return parse_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


FURTHER_PROFILE = re.compile(r" \[profile [1-9]\d*\]$")
"""End of the name of a layer that belongs to another profile than the first."""


def parse_layers(text: str) -> tuple[Layer, ...]:
    """Parse the inspector's JSON, which holds only the names if the engine was built without details.

    The layers are those of the first profile: TensorRT lists all of them again for each further one.
    """
    # Not strict, because TensorRT separates the graph's nodes in a layer's metadata by a control character.
    found: list[Any] = json.loads(text, strict=False).get("Layers", [])
    layers = (_parse(each if isinstance(each, dict) else {"Name": each}) for each in found)
    return tuple(layer for layer in layers if not FURTHER_PROFILE.search(layer.name))


def summarize_layers(layers: Sequence[Layer]) -> list[str]:
    """Lines with the counts that matter for speed."""
    convolutions = [layer for layer in layers if layer.convolution]
    resizes = [layer.name for layer in layers if layer.kind == "Resize"]
    precisions = Counter(layer.precision or "unknown" for layer in layers)
    int8 = sum(each.precision == "int8" for each in convolutions)
    return [
        f"layers: {len(layers)} ({', '.join(f'{count} {name}' for name, count in precisions.items())})",
        *([f"convolutions in INT8: {int8} of {len(convolutions)}"] if int8 else []),
        f"convolutions with bias and ReLU in one kernel: {sum(each.fused for each in layers)} of {len(convolutions)}",
        f"copies that only change the format of a tensor: {sum(each.kind == 'Reformat' for each in layers)}",
        f"upsamplings that run as separate kernels: {len(resizes)}" + (f" ({', '.join(resizes)})" if resizes else ""),
    ]


def _parse(facts: dict[str, Any]) -> Layer:
    kind = str(facts.get("LayerType", ""))
    convolution = facts.get("ParameterType") == "Convolution" or "conv" in kind.lower()
    tactic = str(facts.get("TacticName", ""))
    relu = bool(facts.get("HasReLU")) or facts.get("Activation") == "RELU"
    return Layer(
        name=str(facts.get("Name", "")),
        kind=kind,
        precision=_precision(facts, ("Inputs", "Outputs") if convolution else ("Outputs", "Inputs"))
        or (_first(KERNEL_PRECISIONS, tactic) if convolution else ""),
        convolution=convolution,
        fused=convolution and relu and bool(facts.get("HasBias")),
        tactic=tactic,
    )


def _precision(facts: Mapping[str, Any], sides: Sequence[str]) -> str:
    tensors: Sequence[Mapping[str, Any]] = next((facts[side] for side in sides if facts.get(side)), [])
    return _first(PRECISIONS, str(tensors[0].get("Format/Datatype", ""))) if tensors else ""


def _first(meanings: Mapping[str, str], text: str) -> str:
    return next((meaning for word, meaning in meanings.items() if word in text.lower()), "")
