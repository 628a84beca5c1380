"""A bounded pool: each thread that runs holds one slot, and waits where all are out."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """Lends things that are costly to make; makes them when first needed, up to a limit."""

    def __init__(self, make: Callable[[], T], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._idle: list[T] = []
        self._made = 0
        self._changed = threading.Condition()

    @contextmanager
    def lend(self, prefer: Callable[[T], bool]) -> Iterator[T]:
        """Lend an idle one that ``prefer`` likes, else a new one, else any idle one, else the next that comes back.

        What ``make`` raises comes through, and leaves the pool as it was.
        """
        item = self._take(prefer)
        try:
            yield item
        finally:
            with self._changed:
                self._idle.append(item)
                self._changed.notify()

    def _take(self, prefer: Callable[[T], bool]) -> T:
        with self._changed:
            while True:
                liked = next((index for index in reversed(range(len(self._idle))) if prefer(self._idle[index])), None)
                if liked is not None:
                    return self._idle.pop(liked)
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
