"""Time several callables in turns, so that a machine whose speed drifts treats them alike."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Name = TypeVar("Name")

Run = Callable[[], object]
"""Does one whole piece of work and returns when it is finished."""


def time_in_turns(
    runs: Mapping[Name, Run], rounds: int, warmup: int, progress: Callable[[int], None] = lambda _done: None
) -> dict[Name, list[float]]:
    """Seconds of each run, one per round: A B A B …, after ``warmup`` rounds that do not count."""
    seconds: dict[Name, list[float]] = {name: [] for name in runs}
    for index in range(-warmup, rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if index >= 0:
                seconds[name].append(time.perf_counter() - started)
        progress(index + warmup + 1)
    return seconds
