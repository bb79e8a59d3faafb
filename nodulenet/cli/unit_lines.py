"""A training in flight as lines of text, for logs and batch systems."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from nodulenet.cli.unit_words import clock, counts, number, outcome, several_seeds, unit_name
from nodulenet.training.watch import Snapshot, UnitProgress

# With many units at once the log would be nothing else.
_UNITS_A_TIME = 4


class UnitLines:
    """Says what is new: every unit that ends, and now and then the epochs of those in flight.

    Args:
        stream: where the lines go.
        pause_s: at least this long between two rounds of epochs.
        now: a clock in seconds. Defaults to the machine's.
    """

    def __init__(
        self, stream: TextIO, pause_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._pause_s, self._now = stream, pause_s, now
        self._started = now()
        # The first epoch is told at once.
        self._told_at = -float("inf")
        self._seen: list[UnitProgress] = []

    def show(self, snapshot: Snapshot) -> None:
        """Write what has changed since the last call."""
        lines: list[str] = []
        if not self._seen:
            before = len(snapshot.of("finished"))
            found = f", {before} finished before" if before else ""
            lines.append(f"train: {len(snapshot.units)} units, {snapshot.epochs} epochs{found}")
            self._seen = list(snapshot.units)
        with_seed = several_seeds(snapshot.units)
        moved: list[tuple[int, UnitProgress]] = []
        for place, (unit, seen) in enumerate(zip(snapshot.units, self._seen, strict=True)):
            name = unit_name(unit, with_seed=with_seed)
            if unit.is_over and not seen.is_over:
                end = f"failed: {unit.error}" if unit.state == "failed" else outcome(unit)
                lines.append(f"{self._head(snapshot)}; {name}: {end}")
                self._seen[place] = unit
            elif unit.state == "running" and unit.epoch > seen.epoch:
                moved.append((place, unit))
        if moved and self._now() - self._told_at >= self._pause_s:
            self._told_at = self._now()
            for place, unit in moved:
                self._seen[place] = unit
            told = [unit for _, unit in moved]
            for unit in told[:_UNITS_A_TIME]:
                name = unit_name(unit, with_seed=with_seed)
                lines.append(f"{self._head(snapshot)}; {name}: {_facts(unit)}")
            if len(told) > _UNITS_A_TIME:
                lines.append(f"{self._head(snapshot)}; {len(told) - _UNITS_A_TIME} more in flight")
        self._write(lines)

    def end(self, snapshot: Snapshot) -> None:
        """The last line: what became of all, and how long it took."""
        took = clock(self._now() - self._started)
        self._write([f"train: {counts(snapshot)}; {took}"])

    def _head(self, snapshot: Snapshot) -> str:
        left = "" if snapshot.left_s is None else f", {clock(snapshot.left_s)} left"
        return f"train: {snapshot.epochs_over}/{snapshot.epochs} epochs{left}"

    def _write(self, lines: list[str]) -> None:
        if lines:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()


def _facts(unit: UnitProgress) -> str:
    facts = [f"epoch {unit.epoch}/{unit.epochs}", f"loss {number(unit.loss, '.3f')}"]
    if unit.auc is not None:
        facts.append(f"val AUC {unit.auc:.3f}")
    if unit.patches_per_s is not None:
        facts.append(f"{unit.patches_per_s:.0f} patches/s")
    if unit.seconds_an_epoch is not None:
        facts.append(f"{unit.seconds_an_epoch:.3g} s an epoch")
    facts.append(f"{clock(unit.left_s)} left")
    return ", ".join(facts)
