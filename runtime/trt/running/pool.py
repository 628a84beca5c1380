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
        self._idle: list[Item | None] = [None] * limit
        """Items that nobody uses, the latest last; None for each that is not made yet."""
        self._changed = threading.Condition()

    @contextmanager
    def lend(self, prefer: Callable[[Item], bool]) -> Iterator[Item]:
        """Lend an idle item that ``prefer`` accepts, else a new one, else any idle one, else the next one returned.

        An exception of ``make`` passes through and leaves the pool unchanged.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._idle)
            item = self._take(prefer)
        try:
            if item is None:
                item = self._make()
            yield item
        finally:
            with self._changed:
                self._idle.append(item)
                self._changed.notify()

    def _take(self, prefer: Callable[[Item], bool]) -> Item | None:
        for at, item in reversed(list(enumerate(self._idle))):
            if item is not None and prefer(item):
                return self._idle.pop(at)
        return self._idle.pop(self._idle.index(None) if None in self._idle else 0)
