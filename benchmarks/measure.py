"""Speed, memory and fidelity of model files against eager PyTorch: one cell of the suite for each batch size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

from u2net.benchmarks.machine import Machine, describe_machine
from u2net.benchmarks.noise import Noise, NoiseMeter
from u2net.benchmarks.suite.cells import Cell
from u2net.benchmarks.suite.contestants import EAGER, Contestant
from u2net.benchmarks.suite.inputs import Inputs, encode_picture
from u2net.benchmarks.suite.networks import NetworkFiles
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.row_tables import describe_troubles
from u2net.benchmarks.suite.rows import Row
from u2net.benchmarks.writing import short_names
from u2net.export.parity.sessions import check_variant
from u2net.model.checkpoint import Checkpoint, take_checkpoint
from u2net.model.opening import open_session
from u2net.model.synthetic import make_scene, make_scenes
from u2net.runtime.cores import usable_cores
from u2net.runtime.device import CPU, Device
from u2net.runtime.errors import InputError
from u2net.runtime.kinds import check_counts, check_options
from u2net.runtime.loading import BackendName
from u2net.runtime.preprocess import preprocess_batch
from u2net.runtime.presets import Preset
from u2net.runtime.session import SessionInfo

PICTURE_SIZE = (720, 1280)
"""Height and width of the picture that is timed from file to mask."""

FIDELITY_SCENES = 4
"""Number of synthetic scenes on which the maps are compared."""

EAGER_TITLE = "eager PyTorch"


@dataclass(frozen=True)
class BenchOptions:
    """How to measure.

    Attributes:
        batches: batch sizes, each measured on its own.
        rounds: counted rounds; in each, every model has a turn.
        device: where every model runs.
        backend: what runs ONNX files; see :func:`u2net.runtime.load`.
        threads: processor threads of every model; None takes all usable cores.
        preset: preprocessing contract of the models; None takes each file's own.
    """

    batches: tuple[int, ...] = (1,)
    rounds: int = 10
    device: Device = CPU
    backend: BackendName | None = None
    threads: int | None = None
    preset: Preset | None = None

    def check(self) -> None:
        """Raise InputError if a value cannot be used."""
        check_options(self, "the options of the benchmark")
        if not self.batches:
            raise InputError("there is no batch size to measure")
        check_counts("batch", *self.batches)
        check_counts("threads", self.threads)
        check_counts("rounds", self.rounds)
        if self.rounds < 2:
            raise InputError(f"a benchmark takes at least 2 rounds; got {self.rounds}")


@dataclass(frozen=True)
class BenchReport:
    """What was measured, how, and on what."""

    machine: Machine
    options: BenchOptions
    """As asked for, with the number of threads that were taken."""
    input_size: tuple[int, int]
    rows: tuple[Row, ...]
    """Eager PyTorch comes first at each batch size."""
    noise: Noise

    @property
    def complete(self) -> bool:
        """True if every model ran."""
        return not any(row.error for row in self.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why figures must not be quoted or are missing."""
        return (*filter(None, [self.noise.warning]), *describe_troubles(self.rows))


def measure_models(
    models: Sequence[str | Path],
    reference: Checkpoint | str | Path,
    options: BenchOptions,
    progress: Callable[[str], None] = lambda _message: None,
) -> BenchReport:
    """Time each model against the checkpoint in eager PyTorch, at the input size of the first.

    Every model runs in a process of its own; one that fails there has a row that says so.

    Raises:
        InputError: an option is out of range, a model takes another size, or is of another variant.
        U2NetError: a model cannot be loaded.
    """
    options.check()
    if not models or isinstance(models, str | Path):
        raise InputError(f"the models to measure are a list of paths; got {models!r}")
    options = replace(options, threads=options.threads or usable_cores())
    checkpoint = take_checkpoint(reference)
    infos = [_look_at(path, options, options.preset) for path in dict.fromkeys(map(Path, models))]
    preset = infos[0].preset
    eager = _look_at(checkpoint, options, preset)
    for info in infos:
        info.shape.check_size(preset.height, preset.width, info.path)
        check_variant(eager, info)
    exact = {"tf32": True, "weights": checkpoint.weights}
    everyone = [(Contestant(EAGER, EAGER_TITLE, "eager", "checkpoint", "fp32", exact), eager)]
    everyone += _name_contestants(infos, options)
    files = {each.source: info.path for each, info in everyone}
    inputs = Inputs(
        preprocess_batch(make_scenes(FIDELITY_SCENES), preset),
        {PICTURE_SIZE: encode_picture(make_scene(0, *PICTURE_SIZE)[0], *PICTURE_SIZE)},
    )
    rows, noise = list[Row](), NoiseMeter(usable_cores())
    with TemporaryDirectory() as folder:
        network = NetworkFiles(checkpoint, True, Path(folder), preset.height, given=files)
        settings = SuiteOptions(
            device=options.device,
            batches=options.batches,
            rounds=options.rounds,
            threads=options.threads,
            callers=(),
            work=Path(folder),
        )
        for batch in options.batches:
            fitting = [each for each, info in everyone if (info.batch_limit or batch) >= batch]
            rows += Cell(network, batch, inputs, settings, progress).measure(fitting, inf, noise)
    for row in rows:
        row.file = files[row.contestant.source]
    return BenchReport(
        describe_machine(options.device), options, (preset.height, preset.width), tuple(rows), noise.summarize()
    )


def _look_at(source: Checkpoint | Path, options: BenchOptions, preset: Preset | None) -> SessionInfo:
    """Open a model once, so that one that cannot be opened fails before anything is measured."""
    opened = open_session(source, options.device, backend=options.backend, preset=preset, threads=options.threads)
    with opened as session:
        if session.info.takes_images:
            raise InputError(
                f"{session.info.path} takes images, and bench times networks on tensors; name the graph that it was "
                "made from"
            )
        return session.info


def _name_contestants(infos: Sequence[SessionInfo], options: BenchOptions) -> list[tuple[Contestant, SessionInfo]]:
    suffix = "" if options.backend is None else f" ({options.backend})"
    how = {"backend": options.backend, "preset": options.preset}
    return [
        (Contestant(f"model-{index}", name + suffix, "file", name, info.precision or "unknown", how), info)
        for index, (info, name) in enumerate(zip(infos, short_names(info.path for info in infos), strict=True), 1)
    ]
