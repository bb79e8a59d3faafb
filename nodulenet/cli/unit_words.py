"""The words for a training's units that the live view and the plain lines share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodulenet.training.watch import Snapshot, UnitProgress

# So many units in flight are named when a training is stopped.
_NAMED = 3


def clock(seconds: float | None) -> str:
    """Seconds as ``M:SS`` or ``H:MM:SS``; a dash where they are unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def number(value: float | None, form: str) -> str:
    """A figure; a dash where there is none."""
    return "-" if value is None else format(value, form)


def several_seeds(units: Sequence[UnitProgress]) -> bool:
    """Whether seeds need to be told: there is more than one a fold."""
    return len({u.seed for u in units}) > 1


def unit_name(unit: UnitProgress, *, with_seed: bool) -> str:
    """``squeezenodule_v2 fold 3``, and ``seed 1`` where it matters."""
    return f"{unit.model} fold {unit.fold}" + (f" seed {unit.seed}" if with_seed else "")


def outcome(unit: UnitProgress) -> str:
    """What became of a finished unit: its AUC where it has one, epochs, time."""
    auc = "" if unit.auc is None else f"val AUC {unit.auc:.3f}, "
    return f"{auc}{unit.epoch} epochs in {clock(unit.seconds)}"


def counts(snapshot: Snapshot) -> str:
    """``4 of 12 units finished, 1 failed``."""
    failed = len(snapshot.of("failed"))
    text = f"{len(snapshot.of('finished'))} of {len(snapshot.units)} units finished"
    return f"{text}, {failed} failed" if failed else text


def kept(snapshot: Snapshot) -> str:
    """What a stopped training leaves for the next call."""
    with_seed = several_seeds(snapshot.units)
    begun = [u for u in snapshot.units if u.epoch and not u.is_over]
    # Those that were at work first.
    begun.sort(key=lambda u: u.state != "running")
    names = [
        f"{unit_name(u, with_seed=with_seed)} after epoch {u.epoch} of {u.epochs}"
        for u in begun[:_NAMED]
    ]
    if len(begun) > _NAMED:
        names.append(f"{len(begun) - _NAMED} more that were begun")
    return "; ".join([f"kept: {counts(snapshot)}", *names])
