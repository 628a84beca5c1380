"""A cell, with a scripted answerer in the place of the workers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from u2net.benchmarks.gpu.arrays import read_array, write_array
from u2net.benchmarks.gpu.cells import FIRST_WARMUP, TURN_RUNS, WARMUP, CellRun
from u2net.benchmarks.gpu.contestants import TORCH_AND_ORT, Contestant, TensorRT, list_contestants
from u2net.benchmarks.gpu.deadline import Deadline
from u2net.benchmarks.gpu.entrants import Cell
from u2net.benchmarks.gpu.figures import Row
from u2net.benchmarks.gpu.networks import Artifact, Network
from u2net.benchmarks.gpu.pictures import Pictures
from u2net.benchmarks.gpu.protocol import Answer, Close, Command, Infer, Open, Time
from u2net.runtime.errors import InputError
from u2net.runtime.preprocess import FloatArray

TRT = TensorRT("tensorrt", "8.6.1", "/python")
EVERYONE = list_contestants([TRT], on_gpu=True, wanted=())
EAGER, EXACT, HALF = TORCH_AND_ORT[:3]
ENGINE = next(each for each in EVERYONE if each.key == "tensorrt-8.6.1-graph")

Script = Callable[[str, Command], Answer | None]


@dataclass
class Workers:
    """Answers as a GPU might: each contestant takes its own time, and gives the maps of its pictures' first channel."""

    work: Path
    script: Script = lambda _host, _command: None
    asked: list[tuple[str, Command, float]] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)

    def ask(self, host: str, command: Command, timeout: float) -> Answer:
        self.asked.append((host, command, timeout))
        scripted = self.script(host, command)
        if scripted is not None:
            return scripted
        if isinstance(command, Open):
            return Answer({"provider": host, "memory_mb": 100.0, "seconds": 2.0})
        if isinstance(command, Infer):
            maps = read_array(self.work / command.input)[:, :1]
            write_array(self.work / command.output, maps)
        if isinstance(command, Time):
            return Answer({"seconds": [self.milliseconds.get(command.key, 1.0) / 1e3] * command.repeats})
        return Answer()

    def of(self, kind: type[Command]) -> list[Any]:
        """Commands of a kind, in the order they came."""
        return [command for _, command, _ in self.asked if isinstance(command, kind)]


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    return Workers(tmp_path)


def spanning(count: int) -> FloatArray:
    return np.random.default_rng(0).random((count, 3, 8, 8), dtype=np.float32)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """Two photographs and three scenes of noise from 0 to 1."""
    sets = {"photographs": spanning(2), "scenes": spanning(3)}
    for name, array in sets.items():
        write_array(tmp_path / f"{name}.npz", array)
    return Pictures(sets, None, "photographs", "")


def network(**changes: Any) -> Network:
    engines = {TRT.slug: Artifact("u2net.engine")}
    made = Network("u2net", Artifact("u2net.safetensors"), "weights", True, Artifact("u2net.onnx"), engines)
    return replace(made, **changes)


def cell(**changes: Any) -> Cell:
    soon = Deadline.after(600)
    made = Cell(network(), 8, 320, "cuda:0", "NVIDIA H200", rounds=4, open_seconds=90, until=soon, end=soon)
    return replace(made, **changes)


Measure = Callable[..., list[Row]]


@pytest.fixture
def measure(workers: Workers, pictures: Pictures, tmp_path: Path) -> Measure:
    """Measure a cell; gives its rows."""

    def measure(
        contestants: tuple[Contestant, ...], where: Cell | None = None, hopeless: dict[str, str] | None = None
    ) -> list[Row]:
        run = CellRun(where or cell(), workers, pictures, tmp_path, lambda _message: None)  # type: ignore[arg-type]
        return run.measure(contestants, {} if hopeless is None else hopeless)

    return measure


def test_everybody_takes_turns_on_one_clock_after_the_other(workers: Workers, measure: Measure) -> None:
    measure((EAGER, EXACT, ENGINE))

    times = workers.of(Time)
    turn = [EAGER.key, EXACT.key, ENGINE.key]
    assert [command.key for command in times] == turn * 8
    assert [command.clock for command in times] == ["device"] * 12 + ["wall"] * 12
    assert [command.warmup for command in times[:12]] == [FIRST_WARMUP] * 3 + [WARMUP] * 9


def test_a_turn_holds_as_many_runs_as_fit_its_time(workers: Workers, measure: Measure) -> None:
    workers.milliseconds = {EAGER.key: 200.0, EXACT.key: 10.0, ENGINE.key: 0.4}
    measure((EAGER, EXACT, ENGINE))

    repeats = {command.key: command.repeats for command in workers.of(Time)}
    assert repeats == {EAGER.key: 1, EXACT.key: 5, ENGINE.key: TURN_RUNS}


def test_the_figures_of_a_row(workers: Workers, measure: Measure) -> None:
    workers.milliseconds = {EAGER.key: 20.0, ENGINE.key: 4.0}
    eager, exact, engine = measure((EAGER, EXACT, ENGINE))

    assert engine.device is not None and engine.device.ratio is not None and engine.wall is not None
    assert engine.device.latency.median_ms == pytest.approx(4.0)
    assert engine.device.images_per_second == pytest.approx(2000)
    assert engine.device.ratio.value == pytest.approx(5.0)
    assert engine.share is not None and engine.share.arithmetic == pytest.approx(2000 / 6741, rel=1e-3)
    assert (engine.memory_mb, engine.open_seconds, engine.provider) == (100.0, 2.0, TRT.slug)
    assert (engine.network, engine.batch, engine.error, engine.is_tensorrt) == ("u2net", 8, "", True)
    assert [(each.pictures, each.count, each.iou) for each in engine.parity] == [
        ("photographs", 2, 1),
        ("scenes", 3, 1),
    ]
    assert not eager.is_tensorrt and exact.parity[0].mean == 0


def test_each_is_opened_with_its_own_file(workers: Workers, measure: Measure) -> None:
    measure(EVERYONE)

    files = {command.key: command.file for command in workers.of(Open)}
    assert files["eager-fp32"] == files["compile-fp16"] == "u2net.safetensors"
    assert files["onnxruntime"] == "u2net.onnx"
    assert files["tensorrt-8.6.1"] == files["tensorrt-8.6.1-graph"] == "u2net.engine"
    assert [command.cuda_graph for command in workers.of(Open)][-2:] == [False, True]
    assert read_array(workers.work / "input-8.npz").shape == (8, 3, 8, 8)


def failing(kind: type[Command], key: str, answer: Answer) -> Script:
    """An answer to one kind of command of one contestant."""
    return lambda _host, command: answer if isinstance(command, kind) and command.key == key else None  # type: ignore[union-attr]


def test_a_contestant_that_cannot_be_opened_is_a_row_with_its_error(workers: Workers, measure: Measure) -> None:
    workers.script = failing(Open, HALF.key, Answer(error="OutOfMemoryError: tried to allocate 3 GiB"))
    eager, half = measure((EAGER, HALF))

    assert half.error == "opening: OutOfMemoryError: tried to allocate 3 GiB"
    assert (half.device, half.wall, half.memory_mb, half.parity) == (None, None, None, ())
    assert eager.error == "" and eager.device is not None
    assert HALF.key not in {command.key for command in workers.of(Time) + workers.of(Close)}


def test_one_that_fails_on_a_clock_keeps_the_figures_of_the_other(workers: Workers, measure: Measure) -> None:
    def script(_host: str, command: Command) -> Answer | None:
        broken = isinstance(command, Time) and command.key == ENGINE.key and command.clock == "device"
        return Answer(error="DeviceError: no events") if broken else None

    workers.script = script
    _, engine = measure((EAGER, ENGINE))

    assert engine.device is None and engine.wall is not None
    assert engine.error == "taking device time: DeviceError: no events"


def test_one_that_fails_half_way_has_no_figures_of_that_clock(workers: Workers, measure: Measure) -> None:
    turns: list[Command] = []

    def script(_host: str, command: Command) -> Answer | None:
        if isinstance(command, Time) and command.key == ENGINE.key:
            turns.append(command)
            return Answer(error="the process ended with signal SIGSEGV") if len(turns) > 2 else None
        return None

    workers.script = script
    eager, engine = measure((EAGER, ENGINE))

    assert engine.device is None and engine.wall is None
    assert eager.device is not None and eager.device.rounds == 4
    assert len(turns) == 4, "after a failure it is not asked again on that clock"


def test_one_that_hangs_is_not_tried_again(workers: Workers, measure: Measure) -> None:
    late = Answer(error="gave no answer within 90 s and was ended", timed_out=True)
    workers.script = failing(Open, HALF.key, late)
    hopeless: dict[str, str] = {}
    measure((EAGER, HALF), hopeless=hopeless)
    workers.asked.clear()
    _, half = measure((EAGER, HALF), cell(batch=32), hopeless)

    assert half.error == "not tried: at batch 8 of u2net it gave no answer within 90 s and was ended"
    assert HALF.key not in {command.key for command in workers.of(Open)}


def test_one_that_fails_at_once_is_tried_again(workers: Workers, measure: Measure) -> None:
    workers.script = failing(Open, HALF.key, Answer(error="OutOfMemoryError"))
    hopeless: dict[str, str] = {}
    measure((HALF,), hopeless=hopeless)

    assert hopeless == {}


def test_a_file_that_was_not_made_is_why_its_contestants_do_not_run(workers: Workers, measure: Measure) -> None:
    broken = network(engines={TRT.slug: Artifact("u2net.engine", "building the engine: EngineBuildError: node 3")})
    _, engine = measure((EAGER, ENGINE), cell(network=broken))

    assert engine.error == "building the engine: EngineBuildError: node 3"
    assert [command.key for command in workers.of(Open)] == [EAGER.key]


def test_when_the_time_is_up_everybody_is_a_row(workers: Workers, measure: Measure) -> None:
    rows = measure(EVERYONE, cell(until=Deadline.after(0), end=Deadline.after(0)))

    assert {row.error for row in rows} == {"not measured: the time was up"}
    assert workers.asked == []


def test_a_cell_whose_own_time_is_over_still_takes_a_few_turns(measure: Measure) -> None:
    eager, _ = measure((EAGER, ENGINE), cell(rounds=50, until=Deadline.after(0)))

    assert eager.device is not None and eager.device.rounds == 3


def test_opening_may_not_eat_the_cell(workers: Workers, measure: Measure) -> None:
    measure((EAGER,), cell(until=Deadline.after(20), open_seconds=90))

    assert workers.asked[0][2] == pytest.approx(14, abs=1)


def test_an_untrained_network_is_not_compared(workers: Workers, measure: Measure) -> None:
    rows = measure((EXACT, ENGINE), cell(network=network(trained=False)))

    assert {row.parity_note for row in rows} == {"untrained: latency alone"}
    assert workers.of(Infer) == []


def test_without_a_reference_there_is_no_parity(workers: Workers, measure: Measure) -> None:
    workers.script = failing(Open, EXACT.key, Answer(error="OutOfMemoryError"))
    _, engine = measure((EXACT, ENGINE))

    assert engine.parity == ()
    assert "did not run" in engine.parity_note


def test_a_reference_near_a_half_is_not_judged_by(workers: Workers, measure: Measure) -> None:
    def flat(_host: str, command: Command) -> Answer | None:
        if isinstance(command, Infer):
            count = len(read_array(workers.work / command.input))
            write_array(workers.work / command.output, np.full((count, 1, 8, 8), 0.5, np.float32))
            return Answer()
        return None

    workers.script = flat
    _, engine = measure((EXACT, ENGINE))

    assert engine.parity == ()
    assert "not judged on the photographs: the reference's maps span only 0.500 to 0.500" in engine.parity_note


def test_warnings_are_kept_once(workers: Workers, measure: Measure) -> None:
    workers.script = failing(Time, ENGINE.key, Answer({"seconds": [0.001]}, warnings=("no CUDA graph",)))
    _, engine = measure((EAGER, ENGINE))

    assert engine.warnings == ("no CUDA graph",)


def test_contestants_can_be_chosen_and_a_wrong_key_is_said() -> None:
    chosen = list_contestants([TRT], on_gpu=True, wanted=("tensorrt-8.6.1", "eager-fp32"))

    assert [each.key for each in chosen] == ["eager-fp32", "tensorrt-8.6.1"]
    with pytest.raises(InputError, match=r"no contestant jax; there are eager-fp32, .*tensorrt-8\.6\.1-graph"):
        list_contestants([TRT], on_gpu=True, wanted=("jax",))


def test_on_a_gpu_nothing_stands_in_for_an_engine() -> None:
    assert "stand-in" not in {each.key for each in EVERYONE}
    assert "stand-in" in {each.key for each in list_contestants([], on_gpu=False, wanted=())}
