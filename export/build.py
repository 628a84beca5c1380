"""The main job: a checkpoint to verified artifacts, stage after stage."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from u2net.export.accuracy import AccuracyReport, measure_accuracy
from u2net.export.engine import EngineStage, build_engine
from u2net.export.fp16 import convert_fp16
from u2net.export.graph import GraphStage
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.export.parity import ParityGate, StageParity, VerifyOptions
from u2net.export.parity.sessions import open_for_parity
from u2net.export.simplification import simplify_onnx
from u2net.model.checkpoint import Checkpoint, load_checkpoint
from u2net.model.dataset import check_pairs, find_pairs
from u2net.model.opening import open_session
from u2net.runtime.device import CPU, Device
from u2net.runtime.errors import ArtifactError, DeviceError
from u2net.runtime.files import check_target, make_folder
from u2net.runtime.session import Session
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.flavours import installed_flavours

Report = Callable[[str], None]
"""Called with what is being done."""

FP32_NAME = "model.onnx"
FP16_NAME = "model.fp16.onnx"
ENGINE_NAME = "model.engine"


@dataclass(frozen=True)
class BuildOptions:
    """What to build.

    Attributes:
        export: what the graph takes and gives.
        images: photographs, of which 32 are taken to calibrate and verify on; None takes seeded synthetic scenes.
        device: where the gate runs the graphs. An engine is built and run there if it is a GPU, else on the GPU that
            ``engine`` names.
        dataset: photographs with masks, ``images/`` and ``masks/``, to measure on what each stage costs in the task's
            metrics; None measures nothing.
        engine: what to compile the FP16 graph for; None compiles nothing. Where it names no flavour, the installed
            one is taken, and where none is installed or the full TensorRT finds no GPU, nothing is compiled.
    """

    export: ExportOptions = field(default_factory=ExportOptions)
    images: Path | None = None
    device: Device = CPU
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

    def loadable(self, device: Device) -> tuple[Path, ...]:
        """The artifacts that can be loaded on a device: an engine only on a GPU, and only if it was run."""
        return self.artifacts if device.kind == "cuda" and self.engine_runs else self.graphs

    @property
    def engine_runs(self) -> bool:
        """Whether there is an engine, and it was run here."""
        return self.engine is not None and self.engine.parity is not None


def build_artifacts(
    checkpoint: Checkpoint | Path, folder: Path, options: BuildOptions | None = None, progress: Report | None = None
) -> BuildResult:
    """Export, simplify, convert to FP16 and compile into ``folder``; verify each stage against eager PyTorch.

    A stage that exceeds its tolerances does not stop the build: see :attr:`BuildResult.passed`.

    Raises:
        U2NetError: a stage cannot do its work.
    """
    options = options or BuildOptions()
    options.export.check()
    say = progress or (lambda _message: None)
    say("reading the checkpoint")
    checkpoint = load_checkpoint(checkpoint) if isinstance(checkpoint, Path) else checkpoint
    pairs = [] if options.dataset is None else find_pairs(options.dataset)
    if pairs:
        check_pairs(pairs)  # before the work, not after
    contract, size = options.export.preset, options.export.size
    eager = open_session(
        checkpoint, options.device, preset=contract, size=size, outputs=options.export.outputs, tf32=False
    )
    gate = ParityGate(eager, VerifyOptions(options.images, contract))
    make_folder(folder)
    fp32, fp16 = folder / FP32_NAME, folder / FP16_NAME
    work: dict[str, Callable[[], GraphStage]] = {
        "export": lambda: export_onnx(checkpoint, fp32, options.export),
        "simplify": lambda: simplify_onnx(fp32, fp32),
        "fp16": lambda: convert_fp16(fp32, fp16, options.images),
    }
    stages, sessions = [], {checkpoint.path: eager}
    for name, run in work.items():
        say(f"{name}: writing")
        graph = run()
        say(f"{name}: verifying {graph.path.name}")
        sessions[graph.path] = open_for_parity(graph.path, options.device)
        stages.append(BuiltStage(name, graph, gate.compare(sessions[graph.path])))
    engine, session = _build_engine(fp16, folder / ENGINE_NAME, options, gate, say)
    if session is not None:
        sessions[session.info.path] = session
    accuracy = measure_accuracy(list(sessions.values()), pairs, options.dataset, say) if options.dataset else None
    return BuildResult(checkpoint.path, tuple(stages), engine, accuracy)


def _build_engine(
    graph: Path, path: Path, options: BuildOptions, gate: ParityGate, say: Report
) -> tuple[BuiltEngine | None, Session | None]:
    """The engine, and its session if it can be run here."""
    wanted = options.engine
    if wanted is None or (wanted.flavour is None and not installed_flavours()):
        return None, None
    device = options.device if options.device.kind == "cuda" else wanted.device
    say(f"engine: compiling {graph.name}")
    try:
        stage = build_engine(graph, path, replace(wanted, device=device))
    except DeviceError as error:
        if wanted.flavour is not None:
            raise
        return BuiltEngine(None, None, f"not built: {error}"), None
    say(f"engine: verifying {path.name}")
    try:
        session = open_for_parity(path, device)
    except (DeviceError, ArtifactError) as error:
        return BuiltEngine(stage, None, f"not run: {error}"), None
    return BuiltEngine(stage, gate.compare(session), ""), session


def export_model(
    checkpoint: Checkpoint | Path,
    path: Path,
    options: ExportOptions,
    *,
    half: bool = False,
    images: Path | None = None,
) -> GraphStage:
    """Export a checkpoint to one simplified file: FP32, or with ``half`` FP16 calibrated on ``images``.

    The stage's time is that of the whole export.

    Raises:
        U2NetError: a stage cannot do its work.
    """
    check_target(path, (".onnx",))
    options.check()
    started = time.perf_counter()
    checkpoint = load_checkpoint(checkpoint) if isinstance(checkpoint, Path) else checkpoint
    with TemporaryDirectory() as scratch:
        exported = export_onnx(checkpoint, Path(scratch) / FP32_NAME, options)
        stage = simplify_onnx(exported.path, exported.path if half else path)
        if half:
            stage = convert_fp16(stage.path, path, images)
    return replace(stage, seconds=time.perf_counter() - started)
