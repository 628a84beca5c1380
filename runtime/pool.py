"""A bounded pool: each running thread borrows one item; while all are out, threads wait in the order they came."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Pool(Generic[Item]):
    """Lends items that are costly to make. Makes them on demand, up to a limit."""

    def __init__(self, make: Callable[[], Item], limit: int) -> None:
        self._make = make
        self._idle: list[Item | None] = [None] * limit
        """Items that nobody uses, the latest last; None for each that is not made yet."""
        self._waiting: deque[Future[Item | None]] = deque()
        """Threads that wait, each for the item that is handed to it: only while nothing is idle."""
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, prefer: Callable[[Item], bool]) -> Iterator[Item]:
        """Lend an idle item that ``prefer`` accepts, else a new one, else any idle one, else wait for one.

        An exception of ``make`` passes through and leaves the pool unchanged.
        """
        turn: Future[Item | None] = Future()
        with self._lock:
            if self._idle:
                turn.set_result(self._take(prefer))
            else:
                self._waiting.append(turn)
        item = self._wait(turn)
        try:
            if item is None:
                item = self._make()
            yield item
        finally:
            self._give(item)

    def _wait(self, turn: "Future[Item | None]") -> Item | None:
        try:
            return turn.result()
        except BaseException:  # Ctrl-C: the thread does not wait any more
            with self._lock:
                handed = turn.done()
                if not handed:
                    self._waiting.remove(turn)
            if handed:
                self._give(turn.result())
            raise

    def _give(self, item: Item | None) -> None:
        """Hand an item to the thread that has waited longest, so that none waits for ever while others come back."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set_result(item)
            else:
                self._idle.append(item)

    def _take(self, prefer: Callable[[Item], bool]) -> Item | None:
        for at, item in reversed(list(enumerate(self._idle))):
            if item is not None and prefer(item):
                return self._idle.pop(at)
        return self._idle.pop(self._idle.index(None) if None in self._idle else 0)
