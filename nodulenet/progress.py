"""How long work tells how far it is, without knowing whether a terminal, a log or nobody looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol


class Task(Protocol):
    """One countable piece of work."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """``count`` further units are done; ``note`` is a short word on the latest one."""


class UnitName(Protocol):
    """What tells the units of a training apart."""

    @property
    def model(self) -> str: ...

    @property
    def fold(self) -> int: ...

    @property
    def seed(self) -> int: ...


class Progress(Protocol):
    """What the stages report to; the command line has one that draws on the terminal."""

    def task(self, title: str, total: int, unit: str) -> AbstractContextManager[Task]:
        """Begin a piece of work of ``total`` units (``unit`` in the plural, e.g. "scans")."""

    def watching(
        self, run: Path, units: Sequence[UnitName], epochs: int
    ) -> AbstractContextManager[None]:
        """Show how far ``units`` are while the block trains them, wherever it does.

        What is shown is read from the files that the units leave in the run directory
        (:mod:`nodulenet.training.watch`). Begin before the first of them starts.

        Args:
            run: the run directory.
            units: all that are asked for, those that are finished already among them.
            epochs: epochs of a unit that has not said so itself.
        """

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

    @contextmanager
    def watching(self, run: Path, units: Sequence[UnitName], epochs: int) -> Iterator[None]:
        del run, units, epochs
        yield

    def say(self, text: str) -> None:
        del text
