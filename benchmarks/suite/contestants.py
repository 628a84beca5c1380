"""Ways to run a network, each set up as its own documentation advises."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from u2net.runtime.device import Device
from u2net.runtime.errors import InputError
from u2net.runtime.trt.flavours import Flavour, parse_flavour

EAGER = "eager-fp32"
"""Contestant that speeds are compared with: eager PyTorch with its own defaults."""

EXACT = "eager-fp32-exact"
"""Contestant that outputs are compared with: eager PyTorch without TF32. On a processor :data:`EAGER` is exact."""

HERE, ENGINES, REMBG = "here", "tensorrt", "rembg"
"""Names of the Python that runs the suite, and of those that have TensorRT and rembg."""

IMAGES = "-images"
"""Suffix of the source of contestants that take images."""

Opener = Literal["eager", "file", "rembg"]
PACKAGE_OF: Mapping[Opener, str] = {"eager": "torch", "file": "onnxruntime", "rembg": "rembg"}
"""Package that each opener imports, unless another backend or an engine runs the file."""


@dataclass(frozen=True)
class Contestant:
    """One way to run a network."""

    key: str
    title: str
    opener: Opener
    source: str
    """``checkpoint``; the graph ``plain``, ``fp32``, ``fp16`` or ``int8``; the key of the TensorRT that builds the
    engine; one of these graphs or engines with :data:`IMAGES`; or the name of a file of the user's."""
    precision: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the opener."""
    python: str = HERE
    """Name of the Python that its process runs in."""
    flavour: str = ""
    """The flavour of TensorRT that runs it; empty for others."""

    @property
    def takes_images(self) -> bool:
        """True if pre- and postprocessing are inside its file, without the stretch: its masks are maps."""
        return self.source.endswith(IMAGES)

    @property
    def graph(self) -> str:
        """Source of what is exported for it: of an engine, the graph that it is built from."""
        if not self.flavour:
            return self.source
        return f"fp16{IMAGES}" if self.takes_images else "fp16"

    @property
    def package(self) -> str:
        """The package that it imports before it opens its file."""
        if self.options.get("backend") in ("openvino", "openvino-bf16"):
            return "openvino"
        return self.flavour.replace("-", "_") or PACKAGE_OF[self.opener]


@dataclass(frozen=True)
class TensorRT:
    """A TensorRT that a Python has."""

    flavour: Flavour
    version: str
    python: str
    """Name of that Python."""

    @property
    def key(self) -> str:
        """Key of its contestant without a CUDA graph, and part of its engines' file names."""
        return f"{self.flavour}-{self.version}"


ENGINE_KEY = re.compile(r"(tensorrt|tensorrt-rtx)-([0-9.]+)(?:-graph|-images)?")

LAST, BF16 = {"channels_last": True}, {"channels_last": True, "autocast": True}
HALF, COMPILED = {"half": True}, {"half": True, "compiled": True}
CAPTURED = {"half": True, "graph": True}
ALONE = {"contexts": 1, "cuda_graph": True}

EVERYWHERE = (
    Contestant(EAGER, "eager PyTorch FP32", "eager", "checkpoint", "fp32", {"tf32": True}),
    Contestant("plain-onnx", "torch.onnx.export's file, ONNX Runtime", "file", "plain", "fp32"),
    Contestant("onnxruntime-fp32", "our FP32 graph, ONNX Runtime", "file", "fp32", "fp32"),
    Contestant("onnxruntime", "our FP16 graph, ONNX Runtime", "file", "fp16", "fp16"),
)
ON_CPU = (
    Contestant("eager-channels-last", "eager PyTorch FP32, channels last", "eager", "checkpoint", "fp32", LAST),
    Contestant("eager-bf16", "eager PyTorch, BF16 autocast", "eager", "checkpoint", "bf16", BF16),
    Contestant("compile", "torch.compile FP32", "eager", "checkpoint", "fp32", {"compiled": True}),
    Contestant("openvino", "our FP32 graph, OpenVINO", "file", "fp32", "fp32", {"backend": "openvino"}),
    Contestant(
        "openvino-bf16", "our FP32 graph, OpenVINO in BF16", "file", "fp32", "bf16", {"backend": "openvino-bf16"}
    ),
    Contestant("onnxruntime-int8", "our INT8 graph, ONNX Runtime", "file", "int8", "int8"),
    Contestant("openvino-int8", "our INT8 graph, OpenVINO", "file", "int8", "int8", {"backend": "openvino"}),
    Contestant("onnxruntime-images", "our FP32 graph of images, ONNX Runtime", "file", f"fp32{IMAGES}", "fp32"),
    Contestant("rembg", "rembg's session", "rembg", "fp32", "fp32", python=REMBG),
)
ON_GPU = (
    Contestant(EXACT, "eager PyTorch FP32, TF32 off", "eager", "checkpoint", "fp32"),
    Contestant("eager-fp16", "eager PyTorch FP16, channels last", "eager", "checkpoint", "fp16", HALF),
    Contestant("eager-fp16-graph", "eager PyTorch FP16, CUDA graph", "eager", "checkpoint", "fp16", CAPTURED),
    Contestant("compile-fp16", "torch.compile FP16", "eager", "checkpoint", "fp16", COMPILED),
    Contestant("onnxruntime-graph", "our FP16 graph, ONNX Runtime, CUDA graph", "file", "fp16", "fp16", ALONE),
    Contestant("onnxruntime-images", "our FP16 graph of images, ONNX Runtime", "file", f"fp16{IMAGES}", "fp16"),
)


def list_contestants(device: Device, found: Iterable[TensorRT], wanted: tuple[str, ...]) -> tuple[Contestant, ...]:
    """Return those for the device, or the wanted ones of them; the references always take part.

    Raises:
        InputError: there is no contestant of a wanted key.
    """
    everyone = [*EVERYWHERE, *(ON_CPU if device.kind == "cpu" else ON_GPU)]
    if device.kind == "cuda":
        # A TensorRT that was asked for by its key has a row even if it was not found.
        named = filter(None, map(ENGINE_KEY.fullmatch, wanted))
        asked = (TensorRT(parse_flavour(match[1]), match[2], ENGINES) for match in named)
        engines = {each.key: each for each in (*asked, *found)}
        everyone += [contestant for each in engines.values() for contestant in _engines(each)]
    unknown = [key for key in wanted if key not in {each.key for each in everyone}]
    if unknown:
        there = ", ".join(each.key for each in everyone)
        raise InputError(f"there is no contestant {', '.join(unknown)} on {device}; there are {there}")
    return tuple(each for each in everyone if not wanted or each.key in (EAGER, EXACT, *wanted))


def _engines(found: TensorRT) -> Iterable[Contestant]:
    title = f"{found.flavour} {found.version} FP16"
    for suffix, words, source, graph in (
        ("", "", found.key, False),
        ("-graph", ", CUDA graph", found.key, True),
        (IMAGES, " of images, CUDA graph", f"{found.key}{IMAGES}", True),
    ):
        options = {"cuda_graph": graph}
        yield Contestant(
            found.key + suffix, title + words, "file", source, "fp16", options, found.python, found.flavour
        )
