"""The whole suite: files, cells, report."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from u2net.benchmarks.machine import Machine, describe_machine, describe_processor
from u2net.benchmarks.noise import Noise, NoiseMeter
from u2net.benchmarks.suite.cells import Cell
from u2net.benchmarks.suite.contestants import list_contestants
from u2net.benchmarks.suite.engines import find_engines, make_engines, time_engines
from u2net.benchmarks.suite.gpu import EngineLayers
from u2net.benchmarks.suite.gpu_state import GpuState, read_gpu_state
from u2net.benchmarks.suite.growth import GrowthPoint, measure_growth
from u2net.benchmarks.suite.inputs import gather_inputs
from u2net.benchmarks.suite.limits import Ceilings, count_gigaflops, count_work, set_shares
from u2net.benchmarks.suite.networks import NetworkFiles, find_network, make_graphs
from u2net.benchmarks.suite.options import DEFAULT_BATCHES, DEFAULT_CALLERS, SuiteOptions
from u2net.benchmarks.suite.rows import Row
from u2net.benchmarks.suite.workers import Worker, WorkerError
from u2net.runtime.cores import usable_cores
from u2net.runtime.files import make_folder
from u2net.runtime.preprocess import ByteArray

CEILING_SECONDS = 120.0


@dataclass(frozen=True)
class SuiteReport:
    """Everything that the suite found."""

    machine: Machine
    options: SuiteOptions
    photographs: str
    noise: Noise
    ceilings: Mapping[str, Ceilings]
    """What the machine reached in each arithmetic."""
    gigaflops: Mapping[str, float]
    """Work of each network's convolutions for one image."""
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    """What is missing, and other things to know."""
    gpu_states: tuple[GpuState | str, ...] = ()
    """The GPU before the measurement and after each cell, or why that is not known; empty on a processor."""
    growth: tuple[GrowthPoint, ...] = ()
    """Time and memory against batch and side, if that was asked for."""
    layers: Mapping[str, EngineLayers | str] = field(default_factory=dict)
    """The slowest layers of each engine by its file's name, or why they could not be timed."""
    shown: Sequence[ByteArray] = field(default=(), repr=False, compare=False, metadata={"json": False})
    """The photographs that the rows' maps belong to."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the figures must not be quoted."""
        slowed = {why for state in self.gpu_states if isinstance(state, GpuState) for why in state.slowed_by}
        told = [f"Do not quote these figures: the GPU was {why}." for why in sorted(slowed)]
        return (*filter(None, [self.noise.warning]), *told)


def run_suite(
    options: SuiteOptions,
    progress: Callable[[str], None] = lambda _message: None,
    known: Callable[[SuiteReport], None] = lambda _report: None,
) -> SuiteReport:
    """Measure every contestant on every network at every batch size.

    Args:
        known: called after each cell with what is known by then.

    Raises:
        InputError: an option cannot be used.
        U2NetError: weights or graphs cannot be read or made.
    """
    options.check()
    make_folder(options.work)
    options, device, on_gpu = _fill_in(options), options.device, options.device.kind == "cuda"
    machine = describe_machine(device)
    engines, notes = find_engines(options) if on_gpu else ([], [describe_processor()])
    contestants = list_contestants(device, engines, options.contestants)
    inputs, photographs = gather_inputs(options)
    networks, pictures = [], tuple(inputs.encoded)
    for name in options.networks:
        progress(f"{name}: exporting")
        network = make_graphs(find_network(name, options), {each.graph for each in contestants}, options)
        networks.append(
            make_engines(network, contestants, engines, machine.gpu, options=options, pictures=pictures, say=progress)
        )
    end = time.monotonic() + 60 * options.minutes
    gpu_states = (read_gpu_state(device),) if on_gpu else ()  # the matrix products below may reach its power limit
    progress("measuring what the machine can do")
    noise = NoiseMeter(usable_cores())
    report = SuiteReport(
        machine=machine,
        options=options,
        photographs=photographs,
        noise=noise.summarize(),
        ceilings=_measure_ceilings(options),
        gigaflops={each.variant: count_gigaflops(each.path("fp32", 1)) for each in networks},
        notes=tuple(notes),
        gpu_states=gpu_states,
        shown=inputs.shown,
    )
    for network, batch, share in _plan_cells(networks, options.batches):
        until = time.monotonic() + (end - time.monotonic()) * share
        found = Cell(network, batch, inputs, options, progress).measure(contestants, until, noise, end=end)
        set_shares(found, count_work(network.path("fp32", batch), batch), report.ceilings, device)
        rows = sorted((*report.rows, *found), key=lambda row: (options.networks.index(row.network), row.batch))
        states = (*report.gpu_states, *([read_gpu_state(device)] if on_gpu else []))
        report = replace(report, noise=noise.summarize(), rows=tuple(rows), gpu_states=states)
        known(report)
    for network in networks if options.growth else ():
        for point in measure_growth(network, options, progress):
            report = replace(report, growth=(*report.growth, point))
        known(report)
    if on_gpu:
        report = replace(report, layers=time_engines(networks, contestants, options))
        known(report)
    return report


def _plan_cells(networks: Sequence[NetworkFiles], batches: Sequence[int]) -> Iterable[tuple[NetworkFiles, int, float]]:
    """Yield every network at every batch size, and the share of the time left that its turns may take.

    The smallest batch comes last and gets two parts of the time: its pictures and callers take as long as the turns.
    """
    cells = [(network, batch) for network in networks for batch in sorted(batches, reverse=True)]
    parts = [2 if batch == min(batches) else 1 for _, batch in cells]
    for index, cell in enumerate(cells):
        yield *cell, 1 / sum(parts[index:])


def _fill_in(options: SuiteOptions) -> SuiteOptions:
    """Return the options with the defaults of their device."""
    kind = options.device.kind
    return replace(
        options,
        batches=options.batches or DEFAULT_BATCHES[kind],
        threads=options.threads if kind == "cuda" else options.threads or usable_cores(),
        callers=DEFAULT_CALLERS[kind] if options.callers is None else options.callers,
    )


def _measure_ceilings(options: SuiteOptions) -> dict[str, Ceilings]:
    """Measure each arithmetic in another process; one that PyTorch cannot compute in is left out."""
    found = {}
    kinds = ("fp32", "bf16") if options.device.kind == "cpu" else ("fp32", "tf32", "fp16")
    place = {"device": str(options.device), "threads": options.threads}
    with Worker(sys.executable, options.work / "ceilings.log") as process:
        for arithmetic in kinds:
            with suppress(WorkerError):
                found[arithmetic] = process.call("measure_ceilings", CEILING_SECONDS, arithmetic=arithmetic, **place)
    return found
