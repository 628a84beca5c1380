"""Latency and memory of eager PyTorch and of each artifact, in turns within one run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from u2net.benchmarks.machine import Machine, describe_machine, usable_cores
from u2net.benchmarks.memory import peak_memory_mb
from u2net.benchmarks.noise import Noise, NoiseMeter
from u2net.benchmarks.statistics import Latency, Ratio, compare, summarize
from u2net.benchmarks.timing import mask_steps, time_in_turns
from u2net.model.checkpoint import Checkpoint
from u2net.model.opening import open_session
from u2net.model.synthetic import make_scene, make_scenes
from u2net.runtime.device import CPU, Device
from u2net.runtime.errors import InputError, U2NetError
from u2net.runtime.preprocess import preprocess_batch
from u2net.runtime.presets import Preset
from u2net.runtime.session import Session

PICTURE_SIZE = (720, 1280)
"""Height and width of the picture whose pre- and postprocessing is timed."""


@dataclass(frozen=True)
class BenchOptions:
    """How to measure.

    Attributes:
        batches: batch sizes, each measured on its own.
        rounds: counted rounds; in each, every model runs once.
        warmup: uncounted rounds before them.
        device: where every model runs.
        threads: processor threads of every model; None takes all usable cores.
        preset: preprocessing contract of the models; None takes each file's own.
        memory: also start a process per model and batch to read its peak memory (CPU only).
    """

    batches: tuple[int, ...] = (1,)
    rounds: int = 10
    warmup: int = 2
    device: Device = CPU
    threads: int | None = None
    preset: Preset | None = None
    memory: bool = True

    def check(self) -> None:
        """Raise InputError if a value cannot be used."""
        if not self.batches or min(self.batches) < 1:
            raise InputError(f"batch sizes are at least 1; got {self.batches}")
        if self.rounds < 2 or self.warmup < 0 or (self.threads is not None and self.threads < 1):
            raise InputError("a benchmark takes at least 2 rounds, 0 warm-up rounds and 1 thread")


@dataclass(frozen=True)
class BenchRow:
    """One model at one batch size; times are of the whole batch."""

    model: Path
    precision: str
    provider: str
    batch: int
    compute: Latency
    images_per_second: float
    ratio: Ratio
    """Speed relative to eager PyTorch at the same batch size."""
    peak_memory_mb: float | None
    """Peak of a process that does nothing else; None on a GPU, with ``BenchOptions.memory`` off, or if it failed."""
    memory_failure: str = ""
    """Why the memory could not be measured; empty if it was, or was not asked for."""


@dataclass(frozen=True)
class PictureTime:
    """Median times in milliseconds of the steps from one picture to its mask."""

    model: Path
    picture: tuple[int, int]
    preprocess_ms: float
    compute_ms: float
    postprocess_ms: float


@dataclass(frozen=True)
class BenchReport:
    """What was measured, how, and on what."""

    machine: Machine
    options: BenchOptions
    """As asked for, with the number of threads that were taken."""
    input_size: tuple[int, int]
    reference: Path
    """The checkpoint that ran in eager PyTorch."""
    rows: tuple[BenchRow, ...]
    """The reference comes first at each batch size."""
    pictures: tuple[PictureTime, ...]
    noise: Noise

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why figures must not be quoted or are missing."""
        return tuple(filter(None, (self.noise.warning, *(row.memory_failure for row in self.rows))))


def measure_models(
    models: Sequence[Path],
    reference: Checkpoint | Path,
    options: BenchOptions,
    progress: Callable[[str], None] = lambda _message: None,
) -> BenchReport:
    """Time each model against the checkpoint in eager PyTorch, at the input size of the first.

    Raises:
        InputError: an option is out of range, a model takes another size, or is of another variant.
        U2NetError: a model cannot be loaded or run.
    """
    options.check()
    if not models:
        raise InputError("there is no model to measure")
    threads = options.threads or usable_cores()
    options = replace(options, threads=threads)
    opened = [open_session(path, options.device, preset=options.preset, threads=threads) for path in models]
    preset = opened[0].info.preset
    eager = open_session(reference, options.device, preset=preset, outputs=("d0",))
    for model in opened:
        model.info.shape.check_size(preset.height, preset.width)
        if model.info.variant not in (None, eager.info.variant):
            raise InputError(
                f"{model.info.path} is {model.info.variant}, the reference {eager.info.path} is {eager.info.variant}; "
                "name its own checkpoint with --reference"
            )
    deployed = {each.info.path: each for each in opened}
    sessions = {eager.info.path: eager, **deployed}
    noise = NoiseMeter(usable_cores())
    previous = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = [row for batch in options.batches for row in _measure_batch(sessions, batch, options, noise, progress)]
        pictures = tuple(_time_picture(each, preset, options, progress) for each in deployed.values())
    finally:
        torch.set_num_threads(previous)
    return BenchReport(
        describe_machine(options.device),
        options,
        (preset.height, preset.width),
        eager.info.path,
        tuple(rows),
        pictures,
        noise.summarize(),
    )


def _measure_batch(
    sessions: dict[Path, Session], batch: int, options: BenchOptions, noise: NoiseMeter, say: Callable[[str], None]
) -> list[BenchRow]:
    """Measure the models, of which eager PyTorch is the first, at one batch size, except those with a lower limit."""
    eager = next(iter(sessions.values())).info
    preset = eager.preset
    # Scenes rather than zeros, which would flatter branch prediction and the handling of denormals.
    tensor = preprocess_batch(make_scenes(batch), preset)
    fitting = {path: each for path, each in sessions.items() if (each.info.batch_limit or batch) >= batch}
    total = options.rounds + options.warmup
    with noise.watching():
        seconds = time_in_turns(
            {path: partial(each.infer, tensor, [each.info.mask_output]) for path, each in fitting.items()},
            options.rounds,
            options.warmup,
            lambda done: say(f"timing batch {batch}: round {done} of {total}"),
        )
    noise.add_reference(seconds[eager.path])
    rows = []
    for path, session in fitting.items():
        memory, memory_failure = None, ""
        if options.memory and options.device.kind == "cpu":
            say(f"memory at batch {batch}: {path.name}")
            try:
                memory = peak_memory_mb(path, preset, batch)
            except U2NetError as error:  # the system may kill a process that takes too much
                memory_failure = str(error)
        latency = summarize(seconds[path])
        rows.append(
            BenchRow(
                model=path,
                precision=session.info.precision or "unknown",
                provider=f"{session.info.backend}, {session.info.provider}",
                batch=batch,
                compute=latency,
                images_per_second=batch / latency.median_ms * 1e3,
                ratio=compare(seconds[eager.path], seconds[path]),
                peak_memory_mb=memory,
                memory_failure=memory_failure,
            )
        )
    return rows


def _time_picture(session: Session, sized: Preset, options: BenchOptions, say: Callable[[str], None]) -> PictureTime:
    """Time the three steps of one picture in turns, at the input size of all models."""
    say(f"timing a picture: {session.info.path.name}")
    preset = session.info.preset.with_size(sized.height, sized.width)
    steps = mask_steps(session, make_scene(0, *PICTURE_SIZE)[0], preset)
    seconds = time_in_turns(steps, options.rounds, options.warmup)
    medians = {f"{step}_ms": summarize(times).median_ms for step, times in seconds.items()}
    return PictureTime(session.info.path, PICTURE_SIZE, **medians)
