"""Operating points of a table: chosen on the inner rows of each fold, counted on its outer rows.

A threshold that is chosen on the rows it is reported on flatters. So every fold has its own, from
rows that its outer rows have nothing to do with, and the counts of the folds are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nodulenet.config.schema import OperatingPointConfig
from nodulenet.evaluation.confusion import Confusion, confusion, predictive_values
from nodulenet.evaluation.interval import LEVEL
from nodulenet.evaluation.operating import Kind, operating_point

FIXED_THRESHOLD = 0.5


@dataclass(frozen=True)
class TableOperatingPoint:
    """One operating point of one model.

    Attributes:
        name: For people, e.g. ``sensitivity at least 95 %``.
        kind: As of :func:`nodulenet.evaluation.operating.operating_point`, or ``fixed``.
        target: As there.
        thresholds: Fold -> threshold; ``{"all": ...}`` for a fixed one.
        folds_left_out: Folds without inner rows of both classes, which have no threshold.
        counts: Summed over the folds that have one.
        calls: True where a row is called positive; the outer rows of those folds.
    """

    name: str
    kind: str
    target: float | None
    thresholds: dict[str, float]
    folds_left_out: tuple[int, ...]
    counts: Confusion
    calls: pd.Series[bool]

    def _chosen_on(self) -> str:
        if self.kind == "fixed":
            return "fixed beforehand"
        folds = len(self.thresholds) + len(self.folds_left_out)
        return "inner rows of each fold" if folds > 1 else "inner rows"

    def to_dict(self, *, level: float = LEVEL, prevalences: Sequence[float] = ()) -> dict[str, Any]:
        """JSON-ready; PPV and NPV at each of ``prevalences`` too."""
        return {
            "name": self.name,
            "kind": self.kind,
            "target": self.target,
            "chosen_on": self._chosen_on(),
            "thresholds": self.thresholds,
            "folds_left_out": list(self.folds_left_out),
            **self.counts.to_dict(level=level),
            "at_prevalence": [
                predictive_values(self.counts, prevalence, level=level)
                for prevalence in prevalences
            ],
        }


def table_operating_points(
    inner: pd.DataFrame,
    outer: pd.DataFrame,
    points: Sequence[OperatingPointConfig],
    *,
    score: str = "probability",
) -> list[TableOperatingPoint]:
    """The operating points of one model that its inner rows allow, in the order given.

    Args:
        inner: Inner rows: ``fold, label`` and the score.
        outer: Outer rows, the same columns.
        points: What to choose.
        score: Column of the score; positive means score >= threshold. Defaults to
            ``"probability"``.
    """
    chosen = [_chosen_on_inner(inner, outer, point, score) for point in points]
    return [point for point in chosen if point is not None]


def fixed_operating_point(
    outer: pd.DataFrame, threshold: float = FIXED_THRESHOLD
) -> TableOperatingPoint:
    """A threshold of the probability that nobody chose on data."""
    return TableOperatingPoint(
        f"{threshold:g}",
        "fixed",
        None,
        {"all": threshold},
        (),
        confusion(outer["label"], outer["probability"], threshold),
        outer["probability"] >= threshold,
    )


def _chosen_on_inner(
    inner: pd.DataFrame, outer: pd.DataFrame, point: OperatingPointConfig, score: str
) -> TableOperatingPoint | None:
    counts = Confusion(true_positives=0, false_positives=0, true_negatives=0, false_negatives=0)
    thresholds: dict[str, float] = {}
    left_out: list[int] = []
    calls = []
    for key, part in outer.groupby("fold", sort=True):
        own = inner[inner["fold"] == key]
        if own["label"].nunique() < 2:
            left_out.append(int(str(key)))
            continue
        kind: Kind = point.kind
        chosen = operating_point(own["label"], own[score], kind=kind, target=point.target)
        thresholds[str(key)] = chosen.threshold
        counts += confusion(part["label"], part[score], chosen.threshold)
        calls.append(part[score] >= chosen.threshold)
    if not thresholds:
        return None
    return TableOperatingPoint(
        _name(point),
        point.kind,
        point.target,
        thresholds,
        tuple(left_out),
        counts,
        pd.concat(calls),
    )


def _name(point: OperatingPointConfig) -> str:
    if point.target is None:
        return "Youden"
    if point.kind == "cost":
        return f"a miss costs {point.target:.10g} false alarms"
    return f"{point.kind} at least {100 * point.target:.10g} %"
