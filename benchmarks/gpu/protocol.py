"""What goes between the check and its workers: a command a line in, an answer a line out, both JSON.

Arrays do not travel here but as .npz files; files are named relative to the folder that both sides work in.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

RunnerKind = Literal["eager", "captured", "compiled", "session"]
Clock = Literal["wall", "device"]


@dataclass(frozen=True)
class Hello:
    """Tell what is installed here."""


@dataclass(frozen=True)
class Seed:
    """Write weights of a seeded, untrained network."""

    variant: str
    path: str


@dataclass(frozen=True)
class Train:
    """Train on seeded synthetic scenes and write the weights."""

    variant: str
    path: str
    minutes: float
    device: str


@dataclass(frozen=True)
class Describe:
    """Tell which network a checkpoint holds."""

    path: str


@dataclass(frozen=True)
class Export:
    """Write the FP16 graph of a checkpoint, of dynamic batch, in an opset that every TensorRT reads."""

    checkpoint: str
    path: str
    size: int
    images: str
    """Folder of the photographs that it is calibrated on; empty takes synthetic scenes."""


@dataclass(frozen=True)
class Build:
    """Compile a graph into an engine, with a profile for each batch size."""

    graph: str
    path: str
    flavour: str
    batches: tuple[int, ...]
    device: int
    opt_level: int | None
    artifact: str
    """The graph's metadata, JSON."""


@dataclass(frozen=True)
class Inspect:
    """List the layers of an engine with their times."""

    path: str
    device: int


@dataclass(frozen=True)
class Open:
    """Load a model, make it ready for one input shape and run it a few times."""

    key: str
    """Under which it is named from now on."""
    runner: RunnerKind
    file: str
    device: str
    input: str
    """An .npz of float32 N×3×H×W: what it is timed on."""
    precision: str = "fp32"
    tf32: bool = False
    cuda_graph: bool = False


@dataclass(frozen=True)
class Infer:
    """Run an .npz of float32 P×3×H×W, of any P, and write d0 of each as another."""

    key: str
    input: str
    output: str


@dataclass(frozen=True)
class Time:
    """Time single runs on the input of :class:`Open`."""

    key: str
    clock: Clock
    repeats: int
    warmup: int


@dataclass(frozen=True)
class Close:
    """Let go of a model and its memory."""

    key: str


Command = Hello | Seed | Train | Describe | Export | Build | Inspect | Open | Infer | Time | Close
COMMANDS: dict[str, type[Command]] = {
    kind.__name__: kind for kind in (Hello, Seed, Train, Describe, Export, Build, Inspect, Open, Infer, Time, Close)
}


@dataclass(frozen=True)
class Answer:
    """What came of a command: a value, or an error in its own words."""

    value: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    warnings: tuple[str, ...] = ()
    """What the package logged meanwhile, as a CUDA graph that could not be recorded."""
    timed_out: bool = False

    @property
    def worked(self) -> bool:
        """Whether there is a value."""
        return not self.error


def encode_command(command: Command) -> str:
    """A command as one line."""
    return json.dumps({"do": type(command).__name__, **asdict(command)}) + "\n"


def decode_command(line: str) -> Command:
    """Undo :func:`encode_command`."""
    values: dict[str, Any] = json.loads(line)
    kind: Any = COMMANDS[values.pop("do")]
    command: Command = kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )
    return command


def encode_answer(answer: Answer) -> str:
    """An answer as one line."""
    return json.dumps(asdict(answer)) + "\n"


def decode_answer(line: str) -> Answer:
    """Undo :func:`encode_answer`."""
    values: dict[str, Any] = json.loads(line)
    return Answer(**{**values, "warnings": tuple(values["warnings"])})
