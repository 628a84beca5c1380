"""Who is measured."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from u2net.benchmarks.gpu.protocol import Open, RunnerKind
from u2net.runtime.errors import InputError

EAGER, REFERENCE = "eager-fp32", "eager-fp32-exact"
"""Keys of what the others are compared with: in speed and in numbers."""

TORCH_HOST, COMPILE_HOST, ORT_HOST = "torch", "compile", "onnxruntime"
ENGINES_HOST = "engines"
"""Worker of the Python that has TensorRT: the other one, where there is one. Each TensorRT has its own besides."""


@dataclass(frozen=True)
class Contestant:
    """One way to run a network."""

    key: str
    title: str
    host: str
    """Worker that it lives in; one that may hang or crash has a worker of its own kind."""
    runner: RunnerKind
    file: Literal["checkpoint", "graph", "engine"]
    precision: Literal["fp32", "fp16"]
    tf32: bool = False
    cuda_graph: bool = False
    engine: str = ""
    """Slug of the TensorRT that built it; empty for what is none."""

    @property
    def is_tensorrt(self) -> bool:
        """Whether it is what the others are to be beaten by."""
        return self.file == "engine"

    def command(self, file: str, device: str, tensor: str) -> Open:
        """How its worker opens it."""
        return Open(self.key, self.runner, file, device, tensor, self.precision, self.tf32, self.cuda_graph)


TORCH_AND_ORT = (
    Contestant(EAGER, "eager FP32, PyTorch's defaults", TORCH_HOST, "eager", "checkpoint", "fp32", tf32=True),
    Contestant(REFERENCE, "eager FP32, TF32 off", TORCH_HOST, "eager", "checkpoint", "fp32"),
    Contestant("eager-fp16", "eager FP16, channels last", TORCH_HOST, "eager", "checkpoint", "fp16"),
    Contestant(
        "eager-fp16-graph", "eager FP16, channels last, CUDA graph", TORCH_HOST, "captured", "checkpoint", "fp16"
    ),
    Contestant("compile-fp16", "torch.compile max-autotune, FP16", COMPILE_HOST, "compiled", "checkpoint", "fp16"),
    Contestant("onnxruntime", "ONNX Runtime, FP16 graph", ORT_HOST, "session", "graph", "fp16"),
)

STAND_IN = Contestant("stand-in", "ONNX Runtime in the engines' Python", ENGINES_HOST, "session", "graph", "fp16")
"""In a dry run, where no engine can run: it goes the same way through the other Python."""


@dataclass(frozen=True)
class TensorRT:
    """A TensorRT that some Python has."""

    flavour: str
    version: str
    python: str
    """The interpreter."""

    @property
    def slug(self) -> str:
        """Names its worker, its files and its contestants."""
        return f"{self.flavour}-{self.version}"


def _engine_contestant(found: TensorRT, cuda_graph: bool) -> Contestant:
    return Contestant(
        key=f"{found.slug}-graph" if cuda_graph else found.slug,
        title=f"{found.flavour} {found.version} FP16{', CUDA graph' if cuda_graph else ''}",
        host=found.slug,
        runner="session",
        file="engine",
        precision="fp16",
        cuda_graph=cuda_graph,
        engine=found.slug,
    )


def list_contestants(found: Iterable[TensorRT], on_gpu: bool, wanted: tuple[str, ...]) -> tuple[Contestant, ...]:
    """Everyone, or those that are wanted, in the order of the report.

    Raises:
        InputError: a key is wanted that nobody has.
    """
    everyone = [*TORCH_AND_ORT, *([] if on_gpu else [STAND_IN])]
    for each in found:
        for cuda_graph in (False, True):
            everyone.append(_engine_contestant(each, cuda_graph))
    unknown = [key for key in wanted if key not in {each.key for each in everyone}]
    if unknown:
        there = ", ".join(each.key for each in everyone)
        raise InputError(f"there is no contestant {', '.join(unknown)}; there are {there}")
    return tuple(each for each in everyone if not wanted or each.key in wanted)
