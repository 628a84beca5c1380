"""The main job: a checkpoint to verified artifacts, stage after stage."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from u2net.export.accuracy import AccuracyReport, measure_accuracy
from u2net.export.engine import EngineStage, build_engine
from u2net.export.fp16 import Fp16Options, convert_fp16
from u2net.export.graph import GraphStage
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.export.parity import ParityGate, StageParity, VerifyOptions
from u2net.export.parity.stages import open_stage
from u2net.export.simplification import simplify_onnx
from u2net.model.checkpoint import load_checkpoint
from u2net.model.dataset import check_pairs, find_pairs
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, DeviceError
from u2net.runtime.files import check_target, make_folder
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.flavours import installed_flavours

Progress = Callable[[str], None]

FP32_NAME = "model.onnx"
FP16_NAME = "model.fp16.onnx"
ENGINE_NAME = "model.engine"


@dataclass(frozen=True)
class BuildOptions:
    """What to build.

    Attributes:
        export: what the graph takes and gives.
        images: photographs, of which 32 are taken to calibrate and verify on; None takes seeded synthetic scenes.
        device: where the gate runs the graphs; an engine always runs on a GPU.
        dataset: photographs with masks, ``images/`` and ``masks/``, to measure on what each stage costs in the task's
            metrics; None measures nothing.
        engine: what to compile the FP16 graph for; None compiles nothing. Where it names no flavour, the installed
            one is taken, and where none is installed or the full TensorRT finds no GPU, nothing is compiled.
    """

    export: ExportOptions = field(default_factory=ExportOptions)
    images: Path | None = None
    device: str = "cpu"
    dataset: Path | None = None
    engine: EngineOptions | None = field(default_factory=EngineOptions)


@dataclass(frozen=True)
class BuiltStage:
    """A stage, what it wrote, and how far that is from eager PyTorch."""

    name: str
    graph: GraphStage
    parity: StageParity


@dataclass(frozen=True)
class BuiltEngine:
    """The engine, and how far it is from eager PyTorch."""

    stage: EngineStage | None
    """None where it could not be built here."""
    parity: StageParity | None
    """None where it could not be run here."""
    note: str
    """Why it was not built or not run; empty where it was."""


@dataclass(frozen=True)
class BuildResult:
    """Everything that was built."""

    checkpoint: Path
    stages: tuple[BuiltStage, ...]
    engine: BuiltEngine | None = None
    """None where none was asked for, or no TensorRT is installed."""
    accuracy: AccuracyReport | None = None
    """None where no data set was given."""

    @property
    def passed(self) -> bool:
        """Whether everything that was run is within the tolerances."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """What left its tolerances, in words."""
        found = [f"{name}: {each}" for name, parity in self.parities().items() for each in parity.failures]
        return (*found, *(self.accuracy.failures if self.accuracy else ()))

    def parities(self) -> dict[str, StageParity]:
        """What the gate found, by stage, of all that was run."""
        found = {stage.name: stage.parity for stage in self.stages}
        if self.engine and self.engine.parity:
            found["engine"] = self.engine.parity
        return found

    @property
    def graphs(self) -> tuple[Path, ...]:
        """The ONNX files that last, each once."""
        return tuple(dict.fromkeys(stage.graph.path for stage in self.stages))

    @property
    def artifacts(self) -> tuple[Path, ...]:
        """The graphs that last, each once, then the engine."""
        return (*self.graphs, *([self.engine.stage.path] if self.engine and self.engine.stage else []))

    def loadable(self, device: str) -> tuple[Path, ...]:
        """The artifacts that can be loaded on a device: an engine only on a GPU, and only where it was run."""
        return self.artifacts if Device.parse(device).kind == "cuda" and self.engine_runs else self.graphs

    @property
    def engine_runs(self) -> bool:
        """Whether there is an engine, and it was run here."""
        return self.engine is not None and self.engine.parity is not None


def build_artifacts(
    checkpoint: Path, folder: Path, options: BuildOptions | None = None, progress: Progress | None = None
) -> BuildResult:
    """Export, simplify, convert to FP16 and compile into ``folder``; verify each stage against eager PyTorch.

    A stage that leaves its tolerances does not stop the build: see :attr:`BuildResult.passed`.

    Raises:
        U2NetError: a stage cannot do its work.
    """
    options = options or BuildOptions()
    options.export.check()
    say = progress or (lambda _message: None)
    say("reading the checkpoint")
    network = load_checkpoint(checkpoint)
    if options.dataset is not None:
        check_pairs(find_pairs(options.dataset))  # refuses what could not be scored before the work, not after
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
    built = BuildResult(checkpoint, tuple(stages), _build_engine(fp16, folder / ENGINE_NAME, options, gate, say))
    return replace(built, accuracy=_measure_accuracy(built, options, say))


def _measure_accuracy(built: BuildResult, options: BuildOptions, say: Progress) -> AccuracyReport | None:
    if options.dataset is None:
        return None
    device = Device.parse(options.device)
    models = dict.fromkeys(built.graphs, device)
    if built.engine_runs and built.engine and built.engine.stage and options.engine:
        models[built.engine.stage.path] = Device("cuda", options.engine.device)
    return measure_accuracy(
        built.checkpoint, models, options.dataset, preset=options.export.preset.name, device=device, progress=say
    )


def _build_engine(
    graph: Path, path: Path, options: BuildOptions, gate: ParityGate, say: Progress
) -> BuiltEngine | None:
    engine = options.engine
    if engine is None or (engine.flavour is None and not installed_flavours()):
        return None
    say(f"engine: compiling {graph.name}")
    try:
        stage = build_engine(graph, path, engine)
    except DeviceError as error:
        if engine.flavour is not None:
            raise
        return BuiltEngine(None, None, f"not built: {error}")
    say(f"engine: verifying {path.name}")
    try:
        opened = open_stage(path, Device("cuda", engine.device))
    except (DeviceError, ArtifactError) as error:
        return BuiltEngine(stage, None, f"not run: {error}")
    return BuiltEngine(stage, gate.compare(opened), "")


def export_model(
    checkpoint: Path, path: Path, options: ExportOptions, *, half: bool = False, images: Path | None = None
) -> GraphStage:
    """Checkpoint to one simplified file, FP32 or with ``half`` FP16 calibrated on ``images``.

    Raises:
        U2NetError: a stage cannot do its work.
    """
    check_target(path, (".onnx",))
    options.check()
    network = load_checkpoint(checkpoint)
    with TemporaryDirectory() as scratch:
        exported = export_onnx(network, Path(scratch) / FP32_NAME, options)
        if not half:
            return simplify_onnx(exported.path, path)
        simplified = simplify_onnx(exported.path, exported.path)
        return convert_fp16(simplified.path, path, Fp16Options(images=images))
