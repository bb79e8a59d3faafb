"""How long the steps of a command take, where somebody asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_RECORD: ContextVar[dict[str, float] | None] = ContextVar("record", default=None)


def record_timings() -> dict[str, float]:
    """From now on note the seconds of each step, in the order in which they are first done.

    Returns:
        what :func:`timed` fills: seconds by step.
    """
    record: dict[str, float] = {}
    _RECORD.set(record)
    return record


def end_timings() -> None:
    """Note nothing any more."""
    _RECORD.set(None)


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Note the seconds of what is done inside, if anybody asked; steps within steps count once."""
    record = _RECORD.get()
    if record is None:
        yield
        return
    record.setdefault(step, 0.0)
    others = sum(record.values())
    begin = time.perf_counter()
    try:
        yield
    finally:
        inner = sum(record.values()) - others
        record[step] += time.perf_counter() - begin - inner
