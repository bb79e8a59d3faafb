"""How far a training is, read from what its units leave in the run directory.

Units may train in this process, beside it or on a cluster: all write to the same directory, so this
one way of looking serves everywhere. A unit's folder, ``units/MODEL/fold-K/seed-S``, holds

* ``started.json``, written when somebody begins with it: ``time``, ``epochs``;
* ``history.csv``, written anew after every epoch: ``epoch, loss, val_loss, val_auc, seconds,
  patches_per_s`` and more;
* ``unit.json`` when it is finished, or ``failed.json`` (``error``) when it has failed.

Nothing is asked of these files: what is absent, half-written or damaged is taken as not there yet.
"""

from __future__ import annotations

import csv
import heapq
import json
import math
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from nodulenet.progress import UnitName

STARTED, HISTORY, FINISHED, FAILED = "started.json", "history.csv", "unit.json", "failed.json"
_FILES = (STARTED, HISTORY, FINISHED, FAILED)

# Epochs that a unit's speed is taken from; the first one of a unit also compiles the model.
_LATEST = 5
# Looking must not become work of its own where there are thousands of units on a slow disk.
_SHARE_OF_TIME = 0.05
# How long the last look under way may take when the training has ended.
_LAST_LOOK_S = 2.0


@dataclass(frozen=True)
class UnitProgress:
    """One unit, as it was when somebody looked.

    Attributes:
        model, fold, seed: which one.
        state: waiting (perhaps with epochs of an earlier call), running, finished or failed.
        epoch: epochs that are done.
        epochs: epochs in all; a finished unit may have stopped before.
        loss, auc, patches_per_s: of the latest epoch, of the best one where it is finished. The
            AUC is that of the stopping or inner part. None where there is none.
        seconds: that all its epochs took.
        seconds_an_epoch: of the latest ones; None before the first has ended.
        left_s: expected rest of its time, None where nothing has been measured.
        error: why it failed.
        changed_s: time of its last sign of life, Unix seconds; 0 where it has not begun.
    """

    model: str
    fold: int
    seed: int
    state: Literal["waiting", "running", "finished", "failed"] = "waiting"
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    auc: float | None = None
    patches_per_s: float | None = None
    seconds: float = 0.0
    seconds_an_epoch: float | None = None
    left_s: float | None = None
    error: str = ""
    changed_s: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.state in ("finished", "failed")

    @property
    def epochs_over(self) -> int:
        """Of its ``epochs``, those that nobody waits for any more."""
        return self.epochs if self.is_over else min(self.epoch, self.epochs)


@dataclass(frozen=True)
class Snapshot:
    """All units of a training, in their order, and the expected rest of its time.

    Attributes:
        units: one each.
        left_s: until the last unit has ended, with as many of them at a time as were seen at once;
            None while no epoch has been measured.
    """

    units: tuple[UnitProgress, ...]
    left_s: float | None

    def of(self, state: str) -> list[UnitProgress]:
        """The units in this state."""
        return [u for u in self.units if u.state == state]

    @property
    def epochs(self) -> int:
        """Epochs of all units."""
        return sum(u.epochs for u in self.units)

    @property
    def epochs_over(self) -> int:
        """Those that nobody waits for any more."""
        return sum(u.epochs_over for u in self.units)


def watch(run: Path, units: Sequence[UnitName], epochs: int) -> Snapshot:
    """Look once.

    Args:
        run: the run directory; it need not be there.
        units: whom to look for.
        epochs: epochs of a unit that does not say so itself.
    """
    return _Watch(run, units, epochs).look()


class Watcher:
    """Looks about twice a second while a block runs, and once more when it has ended.

    A unit counts as running from the moment in which ``started.json`` is written within the block:
    what an earlier call left behind, killed or failed, is waiting.

    Args:
        run: the run directory.
        units: whom to look for.
        epochs: epochs of a unit that does not say so itself.
        listener: told of every look, from another thread; of the last one from this.
        pause_s: between two looks, longer where looking takes long.
    """

    def __init__(
        self,
        run: Path,
        units: Sequence[UnitName],
        epochs: int,
        listener: Callable[[Snapshot], None],
        *,
        pause_s: float = 0.5,
    ) -> None:
        self._watch = _Watch(run, units, epochs)
        self._listener, self._pause_s = listener, pause_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="watcher", daemon=True)
        self.last = Snapshot((), None)

    def __enter__(self) -> Watcher:
        self._watch.forget_what_was()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(_LAST_LOOK_S)
        if not self._thread.is_alive():
            self._look()

    def _look_on(self) -> None:
        took_s = 0.0
        while True:
            started = time.monotonic()
            self._look()
            took_s = time.monotonic() - started
            if self._over.wait(max(self._pause_s, took_s / _SHARE_OF_TIME)):
                return

    def _look(self) -> None:
        self.last = self._watch.look()
        self._listener(self.last)


class _Watch:
    """Looks again and again, and reads a file only when it has changed."""

    def __init__(self, run: Path, units: Sequence[UnitName], epochs: int) -> None:
        self._folders = [_Folder(run, unit, epochs) for unit in units]
        self._at_once = 1

    def forget_what_was(self) -> None:
        for folder in self._folders:
            folder.forget_what_was()

    def look(self) -> Snapshot:
        now_s = time.time()
        units = [folder.look() for folder in self._folders]
        pace = _Pace(units)
        units = [pace.expect(unit, now_s) for unit in units]
        self._at_once = max(self._at_once, sum(u.state == "running" for u in units))
        return Snapshot(tuple(units), _time_of_all(units, self._at_once))


_Stamp = tuple[int, int, int]


class _Folder:
    """One unit's folder."""

    def __init__(self, run: Path, unit: UnitName, epochs: int) -> None:
        self._path = run / "units" / unit.model / f"fold-{unit.fold}" / f"seed-{unit.seed}"
        self._before: dict[str, _Stamp] = {}
        self._read: dict[str, tuple[_Stamp, Any]] = {}
        self._unit = UnitProgress(unit.model, unit.fold, unit.seed, epochs=epochs)
        self._last = self._unit

    def forget_what_was(self) -> None:
        self._before = _stamps(self._path)

    def look(self) -> UnitProgress:
        """The unit by its files; without expectations that rest on other units."""
        if self._last.state == "finished":
            return self._last
        stamps = _stamps(self._path)
        facts = self._content(FINISHED, stamps, _read_json)
        if facts is not None:
            # It is the last file: what was listed just before it may have been older.
            stamps = _stamps(self._path)
        started = self._content(STARTED, stamps, _read_json) or {}
        rows: list[dict[str, float]] = self._content(HISTORY, stamps, _read_history) or []
        epochs = started.get("epochs")
        unit = replace(
            self._unit,
            epochs=epochs if isinstance(epochs, int) and epochs > 0 else self._unit.epochs,
            epoch=int(rows[-1]["epoch"]) if rows else 0,
            seconds=sum(row.get("seconds", 0.0) for row in rows),
            seconds_an_epoch=_seconds_an_epoch(rows),
            changed_s=max((s[1] for s in stamps.values()), default=0) / 1e9,
        )
        shown = rows[-1] if rows else {}
        if facts is not None:
            best = facts.get("best_epoch")
            shown = next((row for row in rows if row["epoch"] == best), shown)
            unit = replace(unit, state="finished", left_s=0.0)
        elif self._has_failed(stamps):
            error = (self._content(FAILED, stamps, _read_json) or {}).get("error", "")
            unit = replace(unit, state="failed", error=str(error), left_s=0.0)
        elif STARTED in stamps and stamps[STARTED] != self._before.get(STARTED):
            unit = replace(unit, state="running")
        self._last = replace(
            unit,
            loss=shown.get("loss"),
            auc=shown.get("val_auc"),
            patches_per_s=shown.get("patches_per_s"),
        )
        return self._last

    def _has_failed(self, stamps: dict[str, _Stamp]) -> bool:
        """Failed since the watch began, and not begun again since."""
        if FAILED not in stamps or stamps[FAILED] == self._before.get(FAILED):
            return False
        return STARTED not in stamps or stamps[STARTED][1] <= stamps[FAILED][1]

    def _content(self, name: str, stamps: Mapping[str, _Stamp], read: Callable[[Path], Any]) -> Any:
        """What the file says, read again where it has changed; None where it says nothing."""
        if name not in stamps:
            return None
        known = self._read.get(name)
        if known is None or known[0] != stamps[name]:
            content = read(self._path / name)
            if content is None:
                return known[1] if known else None
            self._read[name] = known = (stamps[name], content)
        return known[1]


class _Pace:
    """How long an epoch of a model takes, by the units of it that were measured."""

    def __init__(self, units: Sequence[UnitProgress]) -> None:
        measured: dict[str, list[UnitProgress]] = {}
        for unit in units:
            if unit.seconds_an_epoch is not None:
                measured.setdefault(unit.model, []).append(unit)
        self._of = {model: _median_pace(of_model) for model, of_model in measured.items()}
        self._of_all = statistics.median(self._of.values()) if self._of else None

    def expect(self, unit: UnitProgress, now_s: float) -> UnitProgress:
        """The unit with the rest of its time."""
        if unit.is_over:
            return unit
        pace = unit.seconds_an_epoch if _is_settled(unit) else None
        pace = pace or self._of.get(unit.model, self._of_all)
        if pace is None:
            return unit
        left_s = pace * (unit.epochs - unit.epochs_over)
        if unit.state == "running":
            # A file server's clock may differ from ours: never more than one epoch.
            left_s -= min(max(0.0, now_s - unit.changed_s), pace)
        return replace(unit, left_s=max(0.0, left_s))


def _median_pace(units: Sequence[UnitProgress]) -> float:
    settled = [u for u in units if _is_settled(u)]
    return statistics.median(u.seconds_an_epoch or 0.0 for u in settled or units)


def _is_settled(unit: UnitProgress) -> bool:
    """Whether its pace is more than that of the first epoch, in which the model is compiled."""
    return unit.epoch > 1 and unit.seconds_an_epoch is not None


def _time_of_all(units: Sequence[UnitProgress], at_once: int) -> float | None:
    """Until the last one ends, when whoever is free takes the next one that waits."""
    if any(u.left_s is None for u in units):
        return None
    ends = sorted(u.left_s or 0.0 for u in units if u.state == "running")
    ends += [0.0] * (at_once - len(ends))
    heapq.heapify(ends)
    for unit in units:
        if unit.state == "waiting":
            heapq.heapreplace(ends, ends[0] + (unit.left_s or 0.0))
    return max(ends)


def _stamps(folder: Path) -> dict[str, _Stamp]:
    """What tells that a file was replaced: its inode, time of change in ns, and size."""
    found: dict[str, _Stamp] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in _FILES:
                    state = entry.stat()
                    found[entry.name] = (entry.inode(), state.st_mtime_ns, state.st_size)
    except OSError:
        pass  # not there yet, or replaced at this moment
    return found


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _read_history(file: Path) -> list[dict[str, float]] | None:
    """The rows of whole lines with their finite numbers, by rising epoch."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    lines = text[: text.rfind("\n") + 1].splitlines()
    try:
        cells_of_rows = list(csv.DictReader(lines))
    except csv.Error:
        return None
    rows: dict[float, dict[str, float]] = {}
    for cells in cells_of_rows:
        row = {name: _number(cell) for name, cell in cells.items() if isinstance(name, str)}
        numbers = {name: value for name, value in row.items() if value is not None}
        if numbers.get("epoch", 0) >= 1:
            rows[numbers["epoch"]] = numbers
    return [rows[epoch] for epoch in sorted(rows)] or None


def _number(cell: Any) -> float | None:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _seconds_an_epoch(rows: Sequence[Mapping[str, float]]) -> float | None:
    seconds = [row["seconds"] for row in rows if row.get("seconds", 0.0) > 0]
    if not seconds:
        return None
    return statistics.median(seconds[1:][-_LATEST:] or seconds)
