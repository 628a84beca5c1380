"""A checkpoint to verified artifacts, stage after stage."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from u2net.export.accuracy import AccuracyReport
from u2net.export.engine import EngineStage, build_engine
from u2net.export.fp16 import convert_fp16
from u2net.export.graph import GraphStage
from u2net.export.image_graph import ImageOptions, fuse_images
from u2net.export.int8 import Int8Options, quantize_int8, search_path
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.export.parity import ParityGate, StageParity, VerifyOptions
from u2net.export.parity.sessions import open_for_parity
from u2net.export.simplification import simplify_onnx
from u2net.model.checkpoint import Checkpoint, take_checkpoint
from u2net.model.dataset import check_pairs, find_pairs
from u2net.model.evaluation import score_sessions
from u2net.model.opening import open_session
from u2net.runtime.device import CPU, Device
from u2net.runtime.errors import DependencyError, DeviceError, EngineGpuError, InputError, OutOfMemoryError
from u2net.runtime.files import check_target, make_folder
from u2net.runtime.images import find_images
from u2net.runtime.kinds import check_options
from u2net.runtime.session import Session
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.flavours import choose_flavour, import_flavour

FP32_NAME = "model.onnx"
FP16_NAME = "model.fp16.onnx"
INT8_NAME = "model.int8.onnx"
ENGINE_NAME = "model.engine"


@dataclass(frozen=True)
class BuildOptions:
    """What to build.

    Attributes:
        export: inputs and outputs of the graph.
        images: folder of photographs, of which 32 are used to calibrate and verify; None uses seeded synthetic scenes.
        device: where the gate runs the graphs. An engine is built and run there if it is a GPU, else on the GPU that
            ``engine`` names.
        dataset: folder of ``images/`` and ``masks/`` on which each stage is scored; None scores nothing.
        int8: how to quantize; None writes no INT8 graph.
        engine: how to compile the FP16 graph; None compiles nothing. If it names no flavour, the installed one is
            taken, and if none is installed or the full TensorRT finds no GPU, nothing is compiled.
    """

    export: ExportOptions = field(default_factory=ExportOptions)
    images: str | Path | None = None
    device: Device = CPU
    dataset: str | Path | None = None
    int8: Int8Options | None = None
    engine: EngineOptions | None = field(default_factory=EngineOptions)


@dataclass(frozen=True)
class BuiltStage:
    """A stage, the graph that it wrote, and the graph's differences from eager PyTorch."""

    name: str
    graph: GraphStage
    parity: StageParity


@dataclass(frozen=True)
class BuiltEngine:
    """The engine and its differences from eager PyTorch."""

    stage: EngineStage | None = None
    """None if it could not be built here."""
    parity: StageParity | None = None
    """None if it could not be run here."""
    note: str = ""
    """Why it was not built or not run; empty if it was."""

    @property
    def remark(self) -> str:
        """The note as a sentence that also says which TensorRT built the engine; empty without a note."""
        by = f" by {self.stage.record.flavour} {self.stage.record.version}" if self.stage else ""
        return f"The engine{by} was {self.note}" if self.note else ""


@dataclass(frozen=True)
class BuildResult:
    """What a build wrote, and what it found of it."""

    checkpoint: Path
    stages: tuple[BuiltStage, ...]
    engine: BuiltEngine | None = None
    """None if none was asked for."""
    accuracy: AccuracyReport | None = None
    """None if no data set was given."""

    @property
    def passed(self) -> bool:
        """True if everything that was run is within the tolerances."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence for each figure outside its tolerance and each metric that lost too much."""
        found = [f"{name}: {each}" for name, parity in self.parities().items() for each in parity.failures]
        return (*found, *(self.accuracy.failures if self.accuracy else ()))

    def parities(self) -> dict[str, StageParity]:
        """The gate's findings for each stage that was run."""
        found = {stage.name: stage.parity for stage in self.stages}
        if self.engine and self.engine.parity:
            found["engine"] = self.engine.parity
        return found

    @property
    def graphs(self) -> tuple[Path, ...]:
        """The final ONNX files, each once."""
        return tuple(dict.fromkeys(stage.graph.path for stage in self.stages))

    @property
    def artifacts(self) -> tuple[Path, ...]:
        """The final ONNX files, then the engine."""
        return (*self.graphs, *([self.engine.stage.path] if self.engine and self.engine.stage else []))

    def loadable(self, device: Device) -> tuple[Path, ...]:
        """The artifacts that can be loaded on a device: an engine only on a GPU, and only if it was run."""
        return self.artifacts if device.kind == "cuda" and "engine" in self.parities() else self.graphs


def build_artifacts(
    checkpoint: Checkpoint | str | Path,
    folder: str | Path,
    options: BuildOptions | None = None,
    progress: Callable[[str], None] = lambda _message: None,
) -> BuildResult:
    """Export, simplify, convert to FP16 and INT8, and compile into ``folder``; verify each stage against eager PyTorch.

    A stage that exceeds its tolerances does not stop the build: see :attr:`BuildResult.passed`. Raise U2NetError if a
    stage cannot do its work.
    """
    options = options or BuildOptions()
    check_options(options, "the options of the build")
    options.export.check()
    if options.int8:
        options.int8.check()
    if options.engine and options.engine.flavour:
        import_flavour(options.engine.flavour)  # report a missing package before the work, not after
    progress("reading the checkpoint")
    checkpoint, folder = take_checkpoint(checkpoint), Path(folder)
    pairs = find_pairs(options.dataset) if options.dataset else []
    if pairs:
        check_pairs(pairs)  # before the work, not after
    preset, size = options.export.preset, options.export.size
    eager = open_session(
        checkpoint, options.device, preset=preset, size=size, outputs=options.export.outputs, tf32=False
    )
    gate = ParityGate(eager, VerifyOptions(options.images, preset))
    make_folder(folder)
    fp32, fp16 = folder / FP32_NAME, folder / FP16_NAME
    work: dict[str, Callable[[], GraphStage]] = {
        "export": lambda: export_onnx(checkpoint, fp32, options.export),
        "simplify": lambda: simplify_onnx(fp32, fp32),
        "fp16": lambda: convert_fp16(fp32, fp16, options.images),
    }
    if wanted := options.int8:
        work["int8"] = lambda: quantize_int8(fp32, folder / INT8_NAME, wanted, progress)
    stages, sessions = [], {checkpoint.path: eager}
    for name, run in work.items():
        progress(f"{name}: writing")
        graph = run()
        progress(f"{name}: verifying {graph.path.name}")
        sessions[graph.path] = open_for_parity(graph.path, options.device)
        stages.append(BuiltStage(name, graph, gate.compare(sessions[graph.path])))
    engine = _build_engine(fp16, options, gate, sessions, progress)
    accuracy = None
    if options.dataset:
        accuracy = AccuracyReport(Path(options.dataset).name, score_sessions(tuple(sessions.values()), pairs, progress))
    return BuildResult(checkpoint.path, tuple(stages), engine, accuracy)


def _build_engine(
    graph: Path, options: BuildOptions, gate: ParityGate, sessions: dict[Path, Session], progress: Callable[[str], None]
) -> BuiltEngine | None:
    """Build the engine beside the graph, verify it and add its session to ``sessions``.

    That no TensorRT is installed is noted. So is, on a processor, a missing GPU or package, or an engine for another
    GPU. Any other failure is raised.
    """
    wanted, path = options.engine, graph.with_name(ENGINE_NAME)
    if wanted is None:
        return None
    try:
        choose_flavour(wanted.flavour)
    except DependencyError as error:
        return BuiltEngine(note=f"not built: {error}")
    device = options.device if options.device.kind == "cuda" else wanted.device
    stage = None
    progress(f"engine: compiling {graph.name}")
    try:
        stage = build_engine(graph, path, replace(wanted, device=device))
        progress(f"engine: verifying {path.name}")
        sessions[path] = open_for_parity(path, device)
    except (DeviceError, DependencyError, EngineGpuError) as error:
        asked = options.device.kind == "cuda" or (stage is None and wanted.flavour is not None)
        if asked or isinstance(error, OutOfMemoryError):
            raise
        return BuiltEngine(stage, note=f"not {'run' if stage else 'built'}: {error}".replace(str(path), path.name))
    return BuiltEngine(stage, gate.compare(sessions[path]))


def export_model(
    checkpoint: Checkpoint | str | Path,
    path: str | Path,
    options: ExportOptions,
    *,
    half: bool = False,
    images: str | Path | None = None,
    int8: Int8Options | None = None,
    fusion: ImageOptions | None = None,
    progress: Callable[[str], None] = lambda _message: None,
) -> GraphStage:
    """Export a checkpoint to one simplified file: FP32, with ``half`` FP16 calibrated on ``images``, or INT8.

    With ``fusion`` it takes images and gives masks. The stage's time is that of the whole export. Raise U2NetError if
    a stage cannot do its work.
    """
    path = check_target(path, (".onnx",))
    options.check()
    if int8:
        int8.check()
    if fusion:
        fusion.check(options.preset, options.size, options.outputs)
    if half and int8:
        raise InputError("a file is in FP16 or in INT8; leave out half or int8")
    if images is not None:
        if not (half or int8):
            raise InputError("images calibrate FP16 and INT8 files; this one is in FP32")
        find_images(images)  # refuse a folder without pictures before the work
    started = time.perf_counter()
    checkpoint = take_checkpoint(checkpoint)
    with TemporaryDirectory() as scratch:
        exported = export_onnx(checkpoint, Path(scratch) / FP32_NAME, options)
        last = Path(scratch) / path.name if fusion else path
        stage = simplify_onnx(exported.path, exported.path if half or int8 else last)
        if half:
            stage = convert_fp16(stage.path, last, images)
        elif int8:
            stage = quantize_int8(
                stage.path, last, replace(int8, search_file=int8.search_file or search_path(path)), progress
            )
        if fusion:
            stage = fuse_images(stage.path, path, fusion)
    return replace(stage, seconds=time.perf_counter() - started)
