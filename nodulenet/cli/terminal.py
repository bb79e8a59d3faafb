"""What the terminal sees: progress, failures, errors. All on stderr, so that stdout is results."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

import typer

from nodulenet.cli.unit_words import clock
from nodulenet.errors import DataError, NoduleNetError, UsageError
from nodulenet.progress import Progress, Task, UnitName

if TYPE_CHECKING:
    from nodulenet.training.watch import Watcher

# Without a terminal (a log, a batch system) a line now and then says how far it is.
_SECONDS_BETWEEN_LINES = 10.0
STOPPED = 130


def complain(text: str) -> None:
    """One error line, red on a terminal."""
    typer.secho(f"error: {text}", fg="red" if sys.stderr.isatty() else None, err=True)


def run_app(app: typer.Typer) -> None:
    """Run a command and turn what users can put right into one line and an exit code."""
    try:
        app()
    except NoduleNetError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        # The evaluation alone is installed without the frameworks and the readers of scans.
        package = (error.name or "").partition(".")[0]
        if package in ("", "nodulenet", "pipelines"):
            raise
        complain(
            f"{package}: is not installed here, and this needs it; install the whole of NoduleNet "
            f"(README, Install); evaluate, compare and froc of CSV tables work without it"
        )
        sys.exit(UsageError.exit_code)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; that is no error of ours.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}; check the path, its rights and the free space")
        sys.exit(DataError.exit_code)
    except SystemExit as end_:
        # Typer turns Ctrl-C into this exit code by itself.
        if end_.code == STOPPED:
            complain("stopped; what was finished is kept, the same command goes on from there")
            _leave_at_once()
        raise


def _leave_at_once() -> NoReturn:
    """End without freeing object by object what TensorFlow has made, which takes seconds.

    Everything has been put away when this is reached; what is registered for the end is done.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads it any more
            stream.flush()
    os._exit(STOPPED)


def warn(text: str) -> None:
    """One warning line."""
    typer.secho(f"warning: {text}", fg="yellow" if sys.stderr.isatty() else None, err=True)


def alarm(text: str) -> None:
    """One warning line that puts every result in doubt, red on a terminal."""
    typer.secho(f"warning: {text}", fg="red" if sys.stderr.isatty() else None, err=True)


def say(text: str) -> None:
    """One line for the reader."""
    typer.echo(text, err=True)


def list_failures(failures: Sequence[dict[str, str]], *, where: str = "") -> None:
    """The failures, a line a cause."""
    if not failures:
        return
    say(f"{len(failures)} failed{where}:")
    for failure in group_failures(failures):
        complain(f"{failure['what']}: {failure['error']}")


def group_failures(failures: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Failures of one cause as one: ``17 findings (first candidate-5)`` with the first's error."""
    groups: dict[str, list[dict[str, str]]] = {}
    for number, failure in enumerate(failures):
        groups.setdefault(failure.get("cause", f"{number}"), []).append(failure)
    grouped = []
    for members in groups.values():
        kind, _, first = members[0]["what"].partition(" ")
        if len(members) > 1:
            what = f"{len(members)} {kind}s (first {first.partition(' (')[0]})"
        else:
            what = members[0]["what"]
        grouped.append({"what": what, "error": members[0]["error"]})
    return grouped


def end(failures: Sequence[dict[str, str]], *, done: int, where: str = "") -> None:
    """List the failures and leave with 4 (something was done) or 3 (nothing was)."""
    list_failures(failures, where=where)
    if failures:
        raise typer.Exit(4 if done else 3)


def make_progress() -> Progress:
    """A live view on a terminal that can redraw, plain lines elsewhere."""
    redraws = sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    return _LiveProgress() if redraws else PlainProgress(sys.stderr)


class _PlainTask:
    def __init__(self, stream: TextIO, title: str, total: int, unit: str, pause_s: float) -> None:
        self._stream, self._title, self._total, self._unit = stream, title, total, unit
        self._pause_s = pause_s
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last < self._pause_s and self._done < self._total:
            return
        self._last = now
        elapsed = max(now - self._start, 1e-9)
        left = elapsed / self._done * (self._total - self._done)
        end = f", {note}" if note else ""
        self._stream.write(
            f"{self._title}: {self._done}/{self._total} {self._unit}, "
            f"{self._done / elapsed:.2g}/s, {clock(left)} left{end}\n"
        )
        self._stream.flush()


class PlainProgress:
    """Progress as lines of text."""

    def __init__(self, stream: TextIO, pause_s: float = _SECONDS_BETWEEN_LINES) -> None:
        self._stream, self._pause_s = stream, pause_s

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        self._stream.write(f"{title}: {total} {unit}\n")
        self._stream.flush()
        yield _PlainTask(self._stream, title, total, unit, self._pause_s)

    @contextmanager
    def watching(self, run: Path, units: Sequence[UnitName], epochs: int) -> Iterator[None]:
        from nodulenet.cli.unit_lines import UnitLines
        from nodulenet.training.watch import Watcher

        if not units:
            yield
            return
        lines = UnitLines(self._stream, self._pause_s)
        watcher = Watcher(run, units, epochs, lines.show)
        with _saying_what_is_kept(self, watcher):
            with watcher:
                yield
            lines.end(watcher.last)

    def say(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


class _LiveProgress:
    """Progress that is redrawn. What is said meanwhile stands above it: one console does both."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars
        from rich.table import Column

        # The note gives way where the terminal is narrow.
        rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False, table_column=rest),
        )
        with Bars(*columns, console=self._console, expand=True) as bars:
            identity = bars.add_task(title, total=total, note="")

            class Live:
                def advance(self, count: int = 1, note: str = "") -> None:
                    bars.update(identity, advance=count, note=note)

            yield Live()

    @contextmanager
    def watching(self, run: Path, units: Sequence[UnitName], epochs: int) -> Iterator[None]:
        from nodulenet.cli.unit_table import UnitTable
        from nodulenet.training.watch import Watcher

        if not units:
            yield
            return
        table = UnitTable(self._console)
        watcher = Watcher(run, units, epochs, table.show)
        with _saying_what_is_kept(self, watcher), table, watcher:
            yield

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _saying_what_is_kept(progress: Progress, watcher: Watcher) -> Iterator[None]:
    """When the block is stopped by Ctrl-C: what the next call will find."""
    from nodulenet.cli.unit_words import kept

    try:
        yield
    except KeyboardInterrupt:
        progress.say(kept(watcher.last))
        raise
