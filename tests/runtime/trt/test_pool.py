"""Covers runtime/pool.py, alone and in a session that many threads call."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.trt.conftest import WriteEngine
from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import FakeTensorRT, expected
from u2net.runtime import load
from u2net.runtime.errors import OutOfMemoryError
from u2net.runtime.pool import MOST_OVERTAKEN, Pool

Item = TypeVar("Item")
Result = TypeVar("Result")


class Thing:
    """An item of a pool, with its last use and a lock held while it is in use."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.last = -1
        self.used = threading.Lock()


def counting(made: list[Thing], fails: Callable[[int], bool] = lambda _call: False) -> Callable[[], Thing]:
    """A function that takes a moment to make a thing, and fails in some of its calls, counted from 0."""
    calls = iter(range(10**6))

    def make() -> Thing:
        call = next(calls)
        time.sleep(1e-3)  # others come to wait
        if fails(call):
            raise OutOfMemoryError("no memory")
        made.append(Thing(len(made)))
        return made[-1]

    return make


def anything(_thing: Thing) -> bool:
    return False


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Work on each item in a thread of its own. A thread that waits forever fails the test."""
    futures: list[Future[Result]] = [Future() for _ in items]

    def run(item: Item, future: Future[Result]) -> None:
        try:
            future.set_result(work(item))
        except BaseException as error:
            future.set_exception(error)

    for pair in zip(items, futures, strict=True):
        threading.Thread(target=run, args=pair, daemon=True).start()
    return [future.result(timeout=20) for future in futures]


@given(
    limit=st.integers(1, 5),
    uses=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=8),
    failing=st.sets(st.integers(0, 6)),
)
@settings(max_examples=60, deadline=None)
def test_the_limit_holds_and_each_item_serves_one_thread_at_a_time(
    limit: int, uses: list[list[int]], failing: set[int]
) -> None:
    made: list[Thing] = []
    pool = Pool(counting(made, failing.__contains__), limit)

    def work(kinds: list[int]) -> int:
        failures = 0
        for kind in kinds:
            try:
                with suppress(KeyError), pool.lend(lambda thing, kind=kind: thing.last == kind) as thing:  # type: ignore[misc]
                    assert thing.used.acquire(blocking=False), "lent to two threads"
                    thing.last = kind
                    time.sleep(1e-4)
                    thing.used.release()
                    raise KeyError
            except OutOfMemoryError:
                failures += 1
        return failures

    failures = sum(in_threads(work, uses))

    assert failures <= len(failing)
    assert len(made) <= min(limit, sum(map(len, uses)))
    assert not any(thing.used.locked() for thing in made)


def test_a_preferred_item_comes_first_then_a_new_one_then_any() -> None:
    made: list[Thing] = []
    pool = Pool(counting(made), 3)
    with pool.lend(anything) as first, pool.lend(anything) as second:
        first.last, second.last = 1, 2

    with pool.lend(lambda thing: thing.last == 1) as liked, pool.lend(lambda thing: thing.last == 9) as fresh:
        assert liked is first
        assert fresh is made[2]
        with pool.lend(lambda thing: thing.last == 9) as left:
            assert left is second
    assert len(made) == 3


def test_threads_are_served_in_the_order_they_came() -> None:
    """One that gives its item back and wants it again at once does not overtake those that wait."""
    pool, served = Pool(counting([]), 1), list[int]()

    def work(number: int) -> None:
        with pool.lend(anything):
            served.append(number)

    with ThreadPoolExecutor(3) as threads:
        with pool.lend(anything):
            for number in range(3):
                threads.submit(work, number)
                time.sleep(0.05)  # until it waits
        work(3)

    assert served == [0, 1, 2, 3]


def test_an_item_goes_first_to_a_thread_that_prefers_it_but_not_for_ever() -> None:
    """Else each change of shape would cost an engine its CUDA graph."""
    pool, served = Pool(counting([]), 1), list[str]()

    def work(kind: str) -> None:
        with pool.lend(lambda thing: thing.last == len(kind)) as thing:
            thing.last = len(kind)
            served.append(kind)

    with ThreadPoolExecutor(12) as threads, pool.lend(anything) as first:
        first.last = len("one")
        for kind in ("other", *["one"] * (MOST_OVERTAKEN + 2)):
            threads.submit(work, kind)
            time.sleep(0.03)  # until it waits

    assert served == [*["one"] * MOST_OVERTAKEN, "other", "one", "one"]


def test_a_thread_that_is_interrupted_while_it_waits_takes_nothing_with_it() -> None:
    def interrupt(*_signal: object) -> None:
        raise KeyboardInterrupt

    pool = Pool(counting([]), 1)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pool.lend(anything), pytest.raises(KeyboardInterrupt):
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            with pool.lend(anything):
                pytest.fail("the only item was lent twice")
        in_threads(lambda _number: pool.lend(anything).__enter__(), [0])
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("contexts", [1, 3, 16])
def test_many_threads_with_mixed_shapes_get_their_own_results(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, contexts: int
) -> None:
    shapes = [(1, 32, 32), (3, 32, 32), (4, 64, 64), (2, 64, 32)]
    with load(write_engine(trt), "cuda:0", contexts=contexts) as session:

        def work(thread: int) -> None:
            random = np.random.default_rng(thread)
            for _ in range(50):
                count, height, width = shapes[random.integers(len(shapes))]
                tensor = random.random((count, 3, height, width), dtype=np.float32)
                np.testing.assert_allclose(session.infer(tensor)["d0"], expected(tensor), rtol=1e-6)

        in_threads(work, range(16))
        assert trt.contexts <= contexts
    assert cuda.calls["cudaGraphLaunch"] > 0
    assert cuda.complaints == []
