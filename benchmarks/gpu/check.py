"""The whole check: tests, files, every cell, the report."""

import datetime
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from u2net.benchmarks.gpu.cells import CellRun
from u2net.benchmarks.gpu.contestants import (
    COMPILE_HOST,
    ENGINES_HOST,
    ORT_HOST,
    TORCH_HOST,
    TensorRT,
    list_contestants,
)
from u2net.benchmarks.gpu.deadline import Deadline
from u2net.benchmarks.gpu.discovery import ask_pythons, describe_driver, gpu_name, slug
from u2net.benchmarks.gpu.entrants import Cell
from u2net.benchmarks.gpu.figures import Row
from u2net.benchmarks.gpu.hosts import Hosts
from u2net.benchmarks.gpu.networks import FILES_HOST, Network, NetworkMaker
from u2net.benchmarks.gpu.options import GpuOptions
from u2net.benchmarks.gpu.page import gpu_markdown
from u2net.benchmarks.gpu.pictures import Pictures, gather_pictures
from u2net.benchmarks.gpu.report import GpuReport, write_gpu_report
from u2net.benchmarks.gpu.scrubbing import make_scrubber
from u2net.benchmarks.gpu.suite import SuiteResult, run_suites
from u2net.benchmarks.gpu.targets import judge_targets
from u2net.benchmarks.machine import describe_machine
from u2net.runtime.device import CPU, Device
from u2net.runtime.files import make_folder

WEIGHTS_SECONDS = 300.0
INSPECT_SECONDS = 120.0

Say = Callable[[str], None]


@dataclass
class Findings:
    """What is known so far."""

    pythons: dict[str, dict[str, Any]] = field(default_factory=dict)
    tests: tuple[SuiteResult, ...] = ()
    networks: list[Network] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    layers: dict[str, dict[str, object]] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckResult:
    """The report and its files."""

    report: GpuReport
    files: tuple[Path, Path]


class Check:
    """One run of ``make gpu-check``."""

    def __init__(self, options: GpuOptions, say: Say) -> None:
        options.check()
        make_folder(options.work)
        self._options = options
        self._say = say
        self._work = options.work.resolve()
        self._date = datetime.date.today().isoformat()
        device = Device.parse(options.device)
        self._machine = replace(describe_machine(CPU), gpu=gpu_name(device))
        self._driver = describe_driver(device) if options.on_gpu else ""
        self._found = Findings()
        other = options.find_python()
        self._pythons = dict.fromkeys((FILES_HOST, TORCH_HOST, COMPILE_HOST, ORT_HOST), sys.executable)
        self._pythons[ENGINES_HOST] = other
        self._scrub = make_scrubber(self._work, self._pythons.values())

    def run(self) -> CheckResult:
        """Everything, and the report."""
        options, found = self._options, self._found
        engines = self._find_tensorrt()
        contestants = list_contestants(engines, options.on_gpu, options.contestants)
        wanted = {contestant.engine for contestant in contestants}
        engines = [each for each in engines if each.slug in wanted]
        with Hosts({**self._pythons, **{each.slug: each.python for each in engines}}, self._work) as hosts:
            pictures = gather_pictures(options.images, options.size, self._work)
            if options.tests:
                self._say("running the tests marked gpu")
                found.tests = run_suites(hosts, self._pythons[ENGINES_HOST], self._work, 60 * options.test_minutes)
                self._write(pictures, finished=False)
            end = self._make_files(hosts, engines, pictures)
            hopeless: dict[str, str] = {}
            for index, (network, batch) in enumerate(self._cells()):
                until = end.within(end.left() / (len(self._cells()) - index))
                cell = self._cell(network, batch, until, end)
                run = CellRun(cell, hosts, pictures, self._work, self._say)
                found.rows += run.measure(contestants, hopeless)
                self._write(pictures, finished=False)
            maker = NetworkMaker(hosts, options, self._work, self._say)
            for network in found.networks if options.on_gpu else []:
                found.layers.update(maker.inspect_engines(network, engines, Deadline.after(INSPECT_SECONDS)))
        return self._write(pictures, finished=True)

    def _find_tensorrt(self) -> list[TensorRT]:
        places = {"this Python": sys.executable}
        if self._pythons[ENGINES_HOST] != sys.executable:
            places["the engines' Python"] = self._pythons[ENGINES_HOST]
        self._found.pythons, engines = ask_pythons(places, self._work)
        if not engines:
            self._found.notes.append("No TensorRT is installed in any Python that was named: it has no row.")
        return engines

    def _make_files(self, hosts: Hosts, engines: list[TensorRT], pictures: Pictures) -> Deadline:
        """Weights, graphs and engines of every network. Gives the end, which training does not bring nearer."""
        options, found = self._options, self._found
        maker = NetworkMaker(hosts, options, self._work, self._say)
        weights = {name: maker.make_weights(name, Deadline.after(WEIGHTS_SECONDS)) for name in options.networks}
        end = Deadline.after(60 * options.minutes)
        graphs = {name: maker.make_graph(name, weights[name][0], pictures.folder, end) for name in options.networks}
        hosts.dismiss(FILES_HOST)
        for name, (checkpoint, told, trained) in weights.items():
            graph, metadata = graphs[name]
            built = maker.make_engines(name, graph, metadata, engines, end)
            found.networks.append(Network(name, checkpoint, told, trained, graph, built))
            found.notes += [f"{name}: {each.note}" for each in (graph, *built.values()) if each.note]
        return end

    def _cells(self) -> list[tuple[Network, int]]:
        return [(network, batch) for network in self._found.networks for batch in self._options.batches]

    def _cell(self, network: Network, batch: int, until: Deadline, end: Deadline) -> Cell:
        options = self._options
        return Cell(
            network=network,
            batch=batch,
            size=options.size,
            device=options.device,
            gpu=self._machine.gpu,
            rounds=options.rounds,
            open_seconds=60 * options.open_minutes,
            until=until,
            end=end,
        )

    def _write(self, pictures: Pictures, *, finished: bool) -> CheckResult:
        found, options = self._found, self._options
        report = GpuReport(
            finished=finished,
            date=self._date,
            gpu=self._machine.gpu,
            driver=self._driver,
            machine=self._machine,
            pythons=found.pythons,
            options=options,
            pictures=pictures.note,
            judged=pictures.judged,
            weights={network.name: network.weights for network in found.networks},
            notes=tuple(found.notes),
            rows=tuple(found.rows),
            targets=judge_targets(found.rows, pictures.judged),
            tests=found.tests,
            layers=found.layers,
        )
        name = options.name or f"{slug(self._machine.gpu)}-{self._date}"
        return CheckResult(report, write_gpu_report(options.output, name, report, gpu_markdown(report), self._scrub))


def check_gpu(options: GpuOptions, say: Say | None = None) -> CheckResult:
    """Run every test marked ``gpu``, measure every contestant that can run, and write the report.

    What cannot run becomes a row with its error.

    Raises:
        InputError: an option cannot be used.
        CheckpointError: weights that were named cannot be read.
        DeviceError: there is no such GPU.
        ExportError: the report cannot be written.
    """
    return Check(options, say or (lambda _message: None)).run()
