"""A training in flight as a picture that is redrawn on the terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nodulenet.cli.unit_words import clock, number, outcome, several_seeds, unit_name
from nodulenet.training.watch import Snapshot, UnitProgress

_LAST_FINISHED = 3
_LAST_FAILED = 3
# Of the terminal's lines the table takes what the other parts and a prompt leave.
_OTHER_LINES = 6 + _LAST_FINISHED + _LAST_FAILED
_LEAST_ROWS = 3
_BAR_WIDTH = 40
_LEAST_BAR = 6


class UnitTable:
    """The live view; a context, because the terminal's cursor is hidden meanwhile."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        # Drawn when somebody has looked, not by a clock of its own.
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> UnitTable:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Redraw."""
        elapsed_s = time.monotonic() - self._started
        width, height = self._console.size
        self._live.update(picture(snapshot, elapsed_s, width, height), refresh=True)


def picture(snapshot: Snapshot, elapsed_s: float, width: int, height: int) -> RenderableType:
    """One bar over all epochs, the units in flight, the latest that ended; no line is wrapped.

    Args:
        snapshot: what is to be shown.
        elapsed_s: since the view began, seconds.
        width, height: of the terminal, in characters and lines.
    """
    parts: list[RenderableType] = [_bar(snapshot, elapsed_s, width)]
    rows = max(_LEAST_ROWS, height - _OTHER_LINES)
    running = snapshot.of("running")
    with_seed = several_seeds(snapshot.units)
    if running:
        parts += ["", _table(running[:rows], width, with_seed=with_seed)]
        if len(running) > rows:
            parts.append(Text(f"{len(running) - rows} more in flight", style="dim"))
    ended = [
        *_finished(snapshot, width, with_seed=with_seed),
        *_failed(snapshot, width, with_seed=with_seed),
    ]
    return Group(*parts, *([""] if ended else []), *ended)


def _bar(snapshot: Snapshot, elapsed_s: float, width: int) -> RenderableType:
    total, over = snapshot.epochs, snapshot.epochs_over
    failed = len(snapshot.of("failed"))
    texts = [
        Text(f"{over}/{total} epochs", style="green"),
        Text(f"{len(snapshot.of('finished'))}/{len(snapshot.units)} units"),
        *([Text(f"{failed} failed", style="red")] if failed else []),
        Text(clock(elapsed_s), style="yellow"),
    ]
    if not all(u.is_over for u in snapshot.units):
        texts.append(Text(f"{clock(snapshot.left_s)} left", style="cyan"))
    cells: list[RenderableType] = [Text("train"), *texts]
    # Two spaces between the texts; what is left over is the bar's, on a narrow terminal nothing.
    room = width - sum(len(text) + 2 for text in (Text("train"), *texts))
    if room >= _LEAST_BAR:
        bar = ProgressBar(total=max(1, total), completed=over, width=min(_BAR_WIDTH, room))
        cells.insert(1, bar)
    else:
        cells.pop(0)
    line = Table.grid(padding=(0, 2, 0, 0))
    for _ in cells:
        line.add_column(no_wrap=True)
    line.add_row(*cells)
    return line


def _table(units: list[UnitProgress], width: int, *, with_seed: bool) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("model", no_wrap=True, overflow="ellipsis", max_width=max(10, width - 54))
    names = ["fold", *(["seed"] if with_seed else []), "epoch", "loss", "val AUC", "patches/s"]
    for name in (*names, "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for unit in units:
        cells = [unit.model, f"{unit.fold}", *([f"{unit.seed}"] if with_seed else [])]
        cells += [f"{unit.epoch}/{unit.epochs}", number(unit.loss, ".3f"), number(unit.auc, ".3f")]
        cells += [number(unit.patches_per_s, ".0f"), clock(unit.left_s)]
        table.add_row(*map(Text, cells))
    return table


def _finished(snapshot: Snapshot, width: int, *, with_seed: bool) -> list[Text]:
    latest = sorted(snapshot.of("finished"), key=lambda u: u.changed_s)[-_LAST_FINISHED:]
    lines = []
    for unit in latest:
        facts = outcome(unit)
        name = _short(unit, width - len("finished") - len(facts) - 4, with_seed=with_seed)
        lines.append(_line(f"finished  {name}  {facts}", "green"))
    return lines


def _failed(snapshot: Snapshot, width: int, *, with_seed: bool) -> list[Text]:
    failed = sorted(snapshot.of("failed"), key=lambda u: u.changed_s)
    lines = []
    for unit in failed[-_LAST_FAILED:]:
        name = _short(unit, width // 2, with_seed=with_seed)
        lines.append(_line(f"failed    {name}  {unit.error}", "red"))
    if len(failed) > _LAST_FAILED:
        lines.append(_line(f"{len(failed) - _LAST_FAILED} more failed", "red"))
    return lines


def _short(unit: UnitProgress, width: int, *, with_seed: bool) -> str:
    """The unit's name, its model cut so that fold and seed are still to be seen."""
    name = unit_name(unit, with_seed=with_seed)
    over = len(name) - width
    if over <= 0:
        return name
    kept = max(4, len(unit.model) - over - 1)
    return f"{unit.model[:kept]}\N{HORIZONTAL ELLIPSIS}{name[len(unit.model) :]}"


def _line(text: str, style: str) -> Text:
    return Text(" ".join(text.splitlines()), style=style, no_wrap=True, overflow="ellipsis")
