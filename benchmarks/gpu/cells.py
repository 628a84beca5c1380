"""One cell: everybody on one network at one batch size, in turns."""

from collections.abc import Callable, Sequence
from pathlib import Path

from u2net.benchmarks.gpu.arrays import read_array, write_array
from u2net.benchmarks.gpu.contestants import Contestant
from u2net.benchmarks.gpu.deadline import Deadline
from u2net.benchmarks.gpu.entrants import Cell, Entrant, make_rows
from u2net.benchmarks.gpu.figures import Row
from u2net.benchmarks.gpu.hosts import Hosts
from u2net.benchmarks.gpu.pictures import Pictures
from u2net.benchmarks.gpu.protocol import Clock, Close, Infer, Time

FIRST_WARMUP, WARMUP = 3, 1
"""Runs of a turn that do not count. In the first turn a session may have to record its CUDA graph anew."""

TURN_SECONDS, TURN_RUNS = 0.05, 20
"""About how long a turn is, and the most runs in it."""

MIN_ROUNDS = 3
"""Turns that are taken even where the cell's own time is over."""

GRACE = 60.0
"""Seconds beyond the deadline that a command under way has, before its worker is taken for hung."""

OPENING_SHARE = 0.7
"""Of a cell's time that opening one contestant may take."""


class CellRun:
    """Measures one cell."""

    def __init__(self, cell: Cell, hosts: Hosts, pictures: Pictures, work: Path, say: Callable[[str], None]) -> None:
        self._cell = cell
        self._hosts = hosts
        self._pictures = pictures
        self._work = work
        self._say = say

    def measure(self, contestants: Sequence[Contestant], hopeless: dict[str, str]) -> list[Row]:
        """Open everybody, compare, take turns, close.

        Args:
            hopeless: keys of those that are not to be tried again, and why; it grows.
        """
        cell = self._cell
        write_array(self._work / self._input, self._pictures.batch(cell.batch))
        entrants = [Entrant(each) for each in contestants]
        for entrant in entrants:
            self._open(entrant, hopeless)
        for entrant in entrants:
            self._map(entrant)
        half = Deadline.after(cell.until.left() / 2)
        self._take_turns(entrants, "device", half)
        self._take_turns(entrants, "wall", cell.until)
        for entrant in entrants:
            if entrant.opened:
                self._hosts.ask(entrant.contestant.host, Close(entrant.contestant.key), GRACE)
        return make_rows(entrants, cell)

    def _open(self, entrant: Entrant, hopeless: dict[str, str]) -> None:
        cell, contestant = self._cell, entrant.contestant
        file = cell.network.file(contestant)
        late = "not measured: the time was up" if cell.end.passed else ""
        if refused := file.error or hopeless.get(contestant.key, "") or late:
            entrant.errors.append(refused)
            return
        self._say(f"{cell.network.name}, batch {cell.batch}: opening {contestant.title}")
        share = max(OPENING_SHARE * cell.until.left(), 1.0)
        command = contestant.command(file.name, cell.device, self._input)
        answer = self._hosts.ask(contestant.host, command, min(cell.open_seconds, share))
        if entrant.take(answer, "opening"):
            entrant.opened = True
            entrant.provider, entrant.memory_mb = answer.value["provider"], answer.value["memory_mb"]
            entrant.open_seconds = answer.value["seconds"]
        elif answer.timed_out:
            hopeless[contestant.key] = f"not tried: at batch {cell.batch} of {cell.network.name} it {answer.error}"

    def _map(self, entrant: Entrant) -> None:
        """d0 of every picture."""
        if not self._cell.network.trained or not entrant.opened:
            return
        for name in self._pictures.sets:
            output = f"{entrant.contestant.key}.npz"
            command = Infer(entrant.contestant.key, f"{name}.npz", output)
            answer = self._hosts.ask(entrant.contestant.host, command, self._patience)
            if entrant.take(answer, f"running the {name}"):
                entrant.maps[name] = read_array(self._work / output)

    def _take_turns(self, entrants: Sequence[Entrant], clock: Clock, until: Deadline) -> None:
        """A B A B, so that a GPU whose clock drifts treats them alike."""
        cell = self._cell
        racing = [entrant for entrant in entrants if entrant.opened]
        if racing:
            self._say(f"{cell.network.name}, batch {cell.batch}: {clock} time of {len(racing)}")
        for index in range(cell.rounds):
            if cell.end.passed or (index >= MIN_ROUNDS and until.passed):
                return
            for entrant in racing:
                if clock not in entrant.stopped:
                    self._take_turn(entrant, clock, FIRST_WARMUP if index == 0 else WARMUP)

    def _take_turn(self, entrant: Entrant, clock: Clock, warmup: int) -> None:
        rounds = entrant.rounds[clock]
        quickest = min((min(turn) for turn in rounds), default=TURN_SECONDS)
        repeats = max(1, min(TURN_RUNS, round(TURN_SECONDS / max(quickest, 1e-6))))
        command = Time(entrant.contestant.key, clock, repeats, warmup)
        answer = self._hosts.ask(entrant.contestant.host, command, self._patience)
        if not entrant.take(answer, f"taking {clock} time"):
            rounds.clear()
        seconds = answer.value.get("seconds")
        if seconds:
            rounds.append(seconds)
        else:
            entrant.stopped.add(clock)

    @property
    def _input(self) -> str:
        return f"input-{self._cell.batch}.npz"

    @property
    def _patience(self) -> float:
        """Seconds that a command may take."""
        return self._cell.end.left() + GRACE
