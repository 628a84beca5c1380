"""Latency and memory of eager PyTorch and of each artifact, in turns within one run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from u2net.benchmarks.machine import Machine, describe_machine, usable_cores
from u2net.benchmarks.memory import peak_memory_mb
from u2net.benchmarks.statistics import Latency, Ratio, compare, summarize
from u2net.benchmarks.timing import Run, time_in_turns
from u2net.model.checkpoint import Checkpoint, load_checkpoint
from u2net.model.network import U2Net
from u2net.model.placing import place_network
from u2net.model.synthetic import make_scene, make_scenes
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError
from u2net.runtime.loading import load
from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import FloatArray, preprocess, preprocess_batch
from u2net.runtime.session import Session

EAGER = "eager PyTorch"
PICTURE_SIZE = (720, 1280)
"""Height and width of the picture whose pre- and postprocessing is timed."""


@dataclass(frozen=True)
class BenchOptions:
    """How to measure.

    Attributes:
        batches: batch sizes, each measured on its own.
        rounds: counted rounds; in each, every model runs once.
        warmup: rounds before, which do not count.
        threads: processor threads of every model; None takes all usable cores.
        preset: preprocessing contract of the models by name; None takes each file's own.
        memory: also start a process per model and batch, to read its peak memory (CPU only).
    """

    batches: tuple[int, ...] = (1,)
    rounds: int = 10
    warmup: int = 2
    device: str = "cpu"
    threads: int | None = None
    preset: str | None = None
    memory: bool = True

    def check(self) -> None:
        """Raise InputError where a value could not be used."""
        if not self.batches or min(self.batches) < 1:
            raise InputError(f"batch sizes are at least 1; got {self.batches}")
        if self.rounds < 2 or self.warmup < 0 or (self.threads is not None and self.threads < 1):
            raise InputError("a benchmark takes at least 2 rounds, 0 warm-up rounds and 1 thread")


@dataclass(frozen=True)
class BenchRow:
    """One model at one batch size; times are of the whole batch."""

    model: str
    precision: str
    provider: str
    batch: int
    compute: Latency
    images_per_second: float
    ratio: Ratio
    """To eager PyTorch at the same batch size."""
    peak_memory_mb: float | None
    """Of a process that does nothing else; None on a GPU or where it was not asked for."""


@dataclass(frozen=True)
class PictureTime:
    """Where one picture's time goes, medians in milliseconds."""

    model: str
    picture: tuple[int, int]
    preprocess_ms: float
    compute_ms: float
    postprocess_ms: float


@dataclass(frozen=True)
class BenchReport:
    """What was measured, how, and on what."""

    machine: Machine
    device: str
    threads: int
    rounds: int
    warmup: int
    input_size: tuple[int, int]
    rows: tuple[BenchRow, ...]
    pictures: tuple[PictureTime, ...]


def measure(
    models: Sequence[Path],
    reference: Path,
    options: BenchOptions | None = None,
    progress: Callable[[str], None] | None = None,
) -> BenchReport:
    """Time each model against the checkpoint in eager PyTorch, at the input size of the first.

    Raises:
        InputError: an option is out of range, a model takes another size, or is of another variant.
        U2NetError: a model cannot be loaded or run.
    """
    options = options or BenchOptions()
    options.check()
    say = progress or (lambda _message: None)
    device, threads = Device.parse(options.device), options.threads or usable_cores()
    checkpoint = load_checkpoint(reference)
    sessions = {str(path): load(path, options.device, preset=options.preset, threads=threads) for path in models}
    size = _common_size(sessions, checkpoint)
    place_network(checkpoint.network, device)
    previous = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows: list[BenchRow] = []
        for batch in options.batches:
            say(f"timing batch {batch}")
            rows += _measure_batch(checkpoint, sessions, size, batch, options)
        say("timing pictures")
        pictures = tuple(_time_picture(name, session, options) for name, session in sessions.items())
    finally:
        torch.set_num_threads(previous)
    return BenchReport(
        describe_machine(), options.device, threads, options.rounds, options.warmup, size, tuple(rows), pictures
    )


def _common_size(sessions: dict[str, Session], checkpoint: Checkpoint) -> tuple[int, int]:
    """The input size of the first model, which all the others must take."""
    if not sessions:
        raise InputError("there is no model to measure")
    presets = [session.info.preset for session in sessions.values()]
    height, width = presets[0].height, presets[0].width
    for name, session in sessions.items():
        session.info.shape.check_size(height, width)
        variant = session.info.variant
        if variant is not None and variant != checkpoint.variant:
            raise InputError(
                f"{name} is {variant}, the reference {checkpoint.path} is {checkpoint.variant}; "
                "name its own checkpoint with --reference"
            )
    return height, width


def _measure_batch(
    checkpoint: Checkpoint, sessions: dict[str, Session], size: tuple[int, int], batch: int, options: BenchOptions
) -> list[BenchRow]:
    """All models at one batch size; a model that takes fewer images at once is left out."""
    tensor = _input(batch, size, next(iter(sessions.values())))
    fitting = {name: each for name, each in sessions.items() if (each.info.batch_limit or batch) >= batch}
    runs: dict[str, Run] = {EAGER: _eager_run(checkpoint.network, tensor)}
    for name, session in fitting.items():
        runs[name] = _session_run(session, tensor)
    seconds = time_in_turns(runs, options.rounds, options.warmup)
    measure_memory = options.memory and options.device == "cpu"
    paths = {EAGER: checkpoint.path, **{name: session.info.path for name, session in fitting.items()}}
    rows = []
    for name, times in seconds.items():
        info = fitting[name].info if name in fitting else None
        latency = summarize(times)
        rows.append(
            BenchRow(
                model=name,
                precision=(info.precision or "unknown") if info else "fp32",
                provider=info.provider if info else f"torch {torch.__version__}",
                batch=batch,
                compute=latency,
                images_per_second=batch / latency.median_ms * 1e3,
                ratio=compare(seconds[EAGER], times),
                peak_memory_mb=peak_memory_mb(paths[name], *size, batch) if measure_memory else None,
            )
        )
    return rows


def _input(batch: int, size: tuple[int, int], session: Session) -> FloatArray:
    """Different scenes, preprocessed: zeros would let a branch predictor or a denormal shortcut lie."""
    preset = session.info.preset.with_size(*size)
    return preprocess_batch(make_scenes(batch), preset)


def _eager_run(network: U2Net, tensor: FloatArray) -> Run:
    device = next(network.parameters()).device

    def run() -> FloatArray:
        with torch.inference_mode():
            fused: FloatArray = network(torch.from_numpy(tensor).to(device)).d0.cpu().numpy()
        return fused

    return run


def _session_run(session: Session, tensor: FloatArray) -> Run:
    return lambda: session.infer(tensor)


def _time_picture(name: str, session: Session, options: BenchOptions) -> PictureTime:
    """Time the three steps of one picture in turns."""
    preset = session.info.preset
    picture = make_scene(0, *PICTURE_SIZE)[0]
    tensor = preprocess(picture, preset)
    maps = next(iter(session.infer(tensor).values()))
    runs: dict[str, Run] = {
        "preprocess": lambda: preprocess(picture, preset),
        "compute": lambda: session.infer(tensor),
        "postprocess": lambda: postprocess(maps[0], preset, *PICTURE_SIZE),
    }
    seconds = time_in_turns(runs, options.rounds, options.warmup)
    medians = {step: summarize(times).median_ms for step, times in seconds.items()}
    return PictureTime(name, PICTURE_SIZE, medians["preprocess"], medians["compute"], medians["postprocess"])
