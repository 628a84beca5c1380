"""The main job: a checkpoint to verified artifacts, stage after stage."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from u2net.export.fp16 import Fp16Options, convert_fp16
from u2net.export.graph import GraphStage
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.export.parity import ParityGate, StageParity, VerifyOptions
from u2net.export.simplification import simplify_onnx
from u2net.model.checkpoint import load_checkpoint
from u2net.runtime.files import make_folder

Progress = Callable[[str], None]

FP32_NAME = "model.onnx"
FP16_NAME = "model.fp16.onnx"


@dataclass(frozen=True)
class BuildOptions:
    """What to build.

    Attributes:
        export: what the graph takes and gives.
        images: photographs to calibrate and verify on; None takes seeded synthetic scenes.
        device: where the gate runs.
    """

    export: ExportOptions = field(default_factory=ExportOptions)
    images: Path | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class BuiltStage:
    """A stage, what it wrote, and how far that is from eager PyTorch."""

    name: str
    graph: GraphStage
    parity: StageParity


@dataclass(frozen=True)
class BuildResult:
    """Everything that was built."""

    checkpoint: Path
    stages: tuple[BuiltStage, ...]

    @property
    def passed(self) -> bool:
        """Whether every stage is within the tolerances."""
        return all(stage.parity.passed for stage in self.stages)

    @property
    def artifacts(self) -> tuple[Path, ...]:
        """The files that last, each once."""
        return tuple(dict.fromkeys(stage.graph.path for stage in self.stages))


def build_artifacts(
    checkpoint: Path, folder: Path, options: BuildOptions | None = None, progress: Progress | None = None
) -> BuildResult:
    """Export, simplify and convert to FP16 into ``folder``; verify each stage against eager PyTorch.

    A stage that leaves its tolerances does not stop the build: see :attr:`BuildResult.passed`.

    Raises:
        U2NetError: a stage cannot do its work.
    """
    options = options or BuildOptions()
    options.export.check()
    say = progress or (lambda _message: None)
    say("reading the checkpoint")
    network = load_checkpoint(checkpoint)
    gate = ParityGate(
        checkpoint, VerifyOptions(images=options.images, preset=options.export.preset.name, device=options.device)
    )
    make_folder(folder)
    fp32, fp16 = folder / FP32_NAME, folder / FP16_NAME
    work: dict[str, Callable[[], GraphStage]] = {
        "export": lambda: export_onnx(network, fp32, options.export),
        "simplify": lambda: simplify_onnx(fp32, fp32),
        "fp16": lambda: convert_fp16(fp32, fp16, Fp16Options(images=options.images)),
    }
    stages = []
    for name, run in work.items():
        say(f"{name}: writing")
        graph = run()
        say(f"{name}: verifying {graph.path.name}")
        stages.append(BuiltStage(name, graph, gate.check(graph.path)))
    return BuildResult(checkpoint, tuple(stages))


def export_model(
    checkpoint: Path, path: Path, options: ExportOptions, *, half: bool = False, images: Path | None = None
) -> GraphStage:
    """Checkpoint to one simplified file, FP32 or with ``half`` FP16 calibrated on ``images``.

    Raises:
        U2NetError: a stage cannot do its work.
    """
    options.check()
    network = load_checkpoint(checkpoint)
    with TemporaryDirectory() as scratch:
        exported = export_onnx(network, Path(scratch) / FP32_NAME, options)
        if not half:
            return simplify_onnx(exported.path, path)
        simplified = simplify_onnx(exported.path, exported.path)
        return convert_fp16(simplified.path, path, Fp16Options(images=images))
