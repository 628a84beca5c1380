"""A bounded pool: each running thread borrows one item and waits if all are out."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Pool(Generic[Item]):
    """Lends items that are costly to make. Makes them on demand, up to a limit."""

    def __init__(self, make: Callable[[], Item], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._idle: list[Item] = []
        self._made = 0
        self._changed = threading.Condition()

    @contextmanager
    def lend(self, prefer: Callable[[Item], bool]) -> Iterator[Item]:
        """Lend an idle item that ``prefer`` accepts, else a new one, else any idle one, else the next one returned.

        An exception of ``make`` passes through and leaves the pool unchanged.
        """
        item = self._take(prefer)
        try:
            yield item
        finally:
            with self._changed:
                self._idle.append(item)
                self._changed.notify()

    def _take(self, prefer: Callable[[Item], bool]) -> Item:
        with self._changed:
            while True:
                accepted = next((at for at in reversed(range(len(self._idle))) if prefer(self._idle[at])), None)
                if accepted is not None:
                    return self._idle.pop(accepted)
                if self._made < self._limit:
                    self._made += 1
                    break
                if self._idle:
                    return self._idle.pop(0)
                self._changed.wait()
        try:
            return self._make()
        except BaseException:
            with self._changed:
                self._made -= 1
                self._changed.notify()
            raise
