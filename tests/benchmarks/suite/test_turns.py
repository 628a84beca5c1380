from collections.abc import Callable
from types import SimpleNamespace

import pytest

from u2net.benchmarks.suite import worker
from u2net.benchmarks.suite.worker import Run, time_in_turns


class Clock:
    """A clock that only :meth:`spend` moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def spend(self, *seconds: float) -> Run:
        """A run that takes these times, one after the other."""
        left = iter(seconds)

        def run() -> None:
            self.now += next(left)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in place of the real one."""
    clock = Clock()
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


def recorder(calls: list[str], name: str) -> Callable[[], None]:
    return lambda: calls.append(name)


@pytest.mark.parametrize(("rounds", "warmup"), [(2, 0), (2, 1), (3, 2)])
def test_runs_take_turns(rounds: int, warmup: int) -> None:
    calls: list[str] = []

    time_in_turns({name: recorder(calls, name) for name in "ABC"}, rounds, warmup)

    assert "".join(calls) == "ABC" * (rounds + warmup)


def test_each_run_has_its_own_times(clock: Clock) -> None:
    seconds = time_in_turns({"A": clock.spend(9, 1, 2), "B": clock.spend(8, 10, 20)}, 2, 1)

    assert seconds == {"A": [1, 2], "B": [10, 20]}
