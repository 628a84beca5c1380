from types import SimpleNamespace

import pytest

from u2net.benchmarks.suite import worker
from u2net.benchmarks.suite.worker import Run, time_in_turns


def test_runs_take_turns_and_each_has_its_own_times(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, now = list[str](), [100.0]
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def spend(name: str, *seconds: float) -> Run:
        left = iter(seconds)

        def run() -> None:
            calls.append(name)
            now[0] += next(left)

        return run

    found = time_in_turns({"A": spend("A", 9, 1, 2), "B": spend("B", 8, 10, 20)}, 2, 1)

    assert "".join(calls) == "ABABAB"
    assert found == {"A": [1, 2], "B": [10, 20]}, "without the first round, which warms up"
