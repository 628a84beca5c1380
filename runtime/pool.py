"""A bounded pool: each running thread borrows one item, and waits in a queue while all are out."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")

MOST_OVERTAKEN = 8
"""How often in a row the thread that has waited longest may be passed over for one that prefers the free item."""


class Turn(Future[Item | None]):
    """A thread's place in the queue. Its result is the item lent, or None if the thread has to make one."""

    def __init__(self, prefer: Callable[[Item], bool]) -> None:
        super().__init__()
        self.prefer = prefer


class Pool(Generic[Item]):
    """Lends items that are costly to make. Makes them on demand, up to a limit."""

    def __init__(self, make: Callable[[], Item], limit: int) -> None:
        self._make = make
        self._idle: list[Item | None] = [None] * limit
        """Items that nobody uses, the latest last; None for each that is not made yet."""
        self._waiting: list[Turn[Item]] = []
        """Turns of threads that wait, the longest first; none while an item is idle."""
        self._overtaken = 0
        """How often in a row the thread that has waited longest was passed over."""
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, prefer: Callable[[Item], bool]) -> Iterator[Item]:
        """Lend an idle item that ``prefer`` accepts, else a new one, else any idle one, else wait for one.

        Threads that wait are served in the order they came, except that an item goes first to those that prefer it, a
        few times in a row. An exception of ``make`` passes through and leaves the pool unchanged.
        """
        turn = Turn[Item](prefer)
        with self._lock:
            if self._idle:
                turn.set_result(self._take(prefer))
            else:
                self._waiting.append(turn)
        item = None
        try:
            item = turn.result()
            if item is None:
                item = self._make()
            yield item
        finally:
            self._end(turn, item)

    def _end(self, turn: Turn[Item], item: Item | None) -> None:
        """Pass an item on, or take a thread that was interrupted out of the queue."""
        with self._lock:
            if not turn.done():
                self._waiting.remove(turn)
                return
            item = turn.result() if item is None else item
            if not self._waiting:
                self._idle.append(item)
                return
            place = 0
            if item is not None and self._overtaken < MOST_OVERTAKEN:
                place = next((at for at, each in enumerate(self._waiting) if each.prefer(item)), 0)
            self._overtaken = self._overtaken + 1 if place else 0
            self._waiting.pop(place).set_result(item)

    def _take(self, prefer: Callable[[Item], bool]) -> Item | None:
        for at, item in reversed(list(enumerate(self._idle))):
            if item is not None and prefer(item):
                return self._idle.pop(at)
        return self._idle.pop(self._idle.index(None) if None in self._idle else 0)
