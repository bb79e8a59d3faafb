"""How long work tells how far it is, without knowing whether a terminal, a log or nobody looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One countable piece of work."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """``count`` further units are done; ``note`` is a short word on the latest one."""


class Progress(Protocol):
    """What the stages report to; the command line has one that draws on the terminal."""

    def task(self, title: str, total: int, unit: str) -> AbstractContextManager[Task]:
        """Begin a piece of work of ``total`` units (``unit`` in the plural, e.g. "scans")."""

    def say(self, text: str) -> None:
        """One line for the reader."""


class _SilentTask:
    def advance(self, count: int = 1, note: str = "") -> None:
        del count, note


class Silent:
    """The default of every stage: reports nothing."""

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        del title, total, unit
        yield _SilentTask()

    def say(self, text: str) -> None:
        del text

    @contextmanager
    def watching(self, run: object, units: object, epochs: int) -> Iterator[None]:
        del run, units, epochs
        yield
