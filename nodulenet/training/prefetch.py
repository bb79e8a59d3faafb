"""Batches made ahead of the step that uses them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Makes ``make(epoch, index)`` in threads, a few ahead of what was asked for.

    Everything is known by its epoch and index, so what was made for another epoch is never handed
    out, only dropped. (Keras's own enqueuer, which ``PyDataset(workers=2)`` starts, keeps what is
    left over at the end of an epoch for the next one.)
    """

    def __init__(self, make: Callable[[int, int], T], count: int, threads: int) -> None:
        """``count`` items an epoch; ``threads`` make them, and as many and one wait at most."""
        self._make, self._count, self._ahead = make, count, threads + 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
        self._lock = threading.Lock()
        self._made: dict[tuple[int, int], Future[T]] = {}

    def get(self, epoch: int, index: int) -> T:
        """The item, when it is ready."""
        with self._lock:
            wanted = [(epoch, i) for i in range(index, min(index + self._ahead + 1, self._count))]
            for key in [k for k in self._made if k not in wanted]:
                self._made.pop(key).cancel()
            for key in wanted:
                if key not in self._made:
                    self._made[key] = self._pool.submit(self._make, *key)
            ready = self._made.pop((epoch, index))
        return ready.result()
