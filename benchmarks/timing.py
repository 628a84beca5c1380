"""Time several callables in turns, so that a machine whose speed drifts treats them alike."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import ByteArray, preprocess
from u2net.runtime.session import Session

Key = TypeVar("Key")

Run = Callable[[], object]
"""Does one whole piece of work and returns when it is finished."""


def time_in_turns(runs: Mapping[Key, Run], rounds: int, warmup: int) -> dict[Key, list[float]]:
    """Seconds of each run, one per round: A B A B …, after ``warmup`` rounds that do not count."""
    seconds: dict[Key, list[float]] = {name: [] for name in runs}
    for index in range(-warmup, rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if index >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def mask_steps(session: Session, image: ByteArray) -> dict[str, Run]:
    """Return the steps from an image to its mask: ``preprocess``, ``compute``, ``postprocess``."""
    output, preset = session.info.mask_output, session.info.preset
    tensor = preprocess(image, preset)
    maps = session.infer(tensor, [output])[output]
    return {
        "preprocess": lambda: preprocess(image, preset),
        "compute": lambda: session.infer(tensor, [output]),
        "postprocess": lambda: postprocess(maps[0], preset, *image.shape[:2]),
    }
