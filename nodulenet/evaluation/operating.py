"""Operating points: a threshold chosen on inner rows, to be used on rows never seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nodulenet.errors import UsageError
from nodulenet.evaluation.arrays import (
    Bools,
    Floats,
    check_both_classes,
    check_labels,
    check_scores,
)
from nodulenet.evaluation.confusion import Confusion, confusion
from nodulenet.evaluation.roc import (
    above_all,
    counts_by_threshold,
    sensitivity_threshold,
    specificity_threshold,
)

Kind = Literal["youden", "sensitivity", "specificity", "cost"]
KINDS: tuple[Kind, ...] = ("youden", "sensitivity", "specificity", "cost")


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold and where it comes from; positive means score >= threshold.

    Attributes:
        kind: How it was chosen.
        target: The sensitivity or specificity asked for, or what a missed positive costs in false
            alarms; None for Youden.
        threshold: Always a finite number; above all scores where nothing is called positive.
        chosen_on: The counts on the rows it was chosen on (optimistic by nature).
        prevalence: For a cost, the share of positives it was weighed at; else None.
    """

    kind: Kind
    target: float | None
    threshold: float
    chosen_on: Confusion
    prevalence: float | None = None

    @property
    def meaning(self) -> str:
        """What the threshold was chosen for, in words."""
        if self.target is None:
            return "highest sum of sensitivity and specificity (Youden)"
        if self.kind == "sensitivity":
            return f"highest threshold with a sensitivity of at least {100 * self.target:g} %"
        if self.kind == "specificity":
            return f"lowest threshold with a specificity of at least {100 * self.target:g} %"
        return (
            f"least expected cost where a missed positive costs as much as {self.target:g} false "
            f"alarms, at a prevalence of {100 * (self.prevalence or 0):.3g} %"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``prevalence`` only for a cost."""
        content: dict[str, Any] = {
            "kind": self.kind,
            "target": self.target,
            "meaning": self.meaning,
            "threshold": self.threshold,
            "chosen_on": {
                "rows": self.chosen_on.total,
                "sensitivity": self.chosen_on.sensitivity,
                "specificity": self.chosen_on.specificity,
            },
        }
        return content if self.prevalence is None else content | {"prevalence": self.prevalence}


def operating_point(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    kind: Kind = "youden",
    target: float | None = None,
    prevalence: float | None = None,
) -> OperatingPoint:
    """Chooses a threshold; give it inner rows, never the rows it is reported on.

    - ``"youden"``: the highest sensitivity + specificity;
    - ``"sensitivity"``: the highest threshold with at least the target;
    - ``"specificity"``: the lowest threshold with at least the target;
    - ``"cost"``: the least expected cost of a row, in false alarms, where a missed positive costs
      ``target`` of them: ``target * prevalence * (1 - sensitivity) + (1 - prevalence) *
      (1 - specificity)``. To call nothing positive can be the answer. Costs of calls that are
      right (a work-up that was needed) are taken as 0.

    Of thresholds that are equally good the one with the highest sensitivity is taken.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Finite scores, shape (n,).
        kind: As above. Defaults to ``"youden"``.
        target: In 0..1 for a sensitivity or specificity, above 0 for a cost, none for Youden.
            Defaults to None.
        prevalence: For a cost: the share of positives where the threshold will be used, between
            0 and 1. Defaults to that of the rows.

    Raises:
        UsageError: an unknown kind, or a target or prevalence that is missing, superfluous or out
            of range.
        PredictionsError: one class only, or values that are not allowed.

    Source: Youden W. J., Cancer 3:32-35, 1950; Metz C. E., Seminars in Nuclear Medicine
    8:283-298, 1978 (cost).

    Example:
        >>> operating_point([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9]).threshold
        0.6
    """
    _check_wishes(kind, target, prevalence)
    y = check_labels(labels)
    scores = check_scores(probabilities, y.size, name="probabilities")
    positives, negatives = check_both_classes(y, "An operating point")
    if kind == "sensitivity":
        assert target is not None
        threshold = sensitivity_threshold(y, scores, target)
    elif kind == "specificity":
        assert target is not None
        threshold = specificity_threshold(y, scores, target)
    elif kind == "cost":
        assert target is not None
        miss, alarm = target, 1.0
        if prevalence is None:
            prevalence = positives / y.size
        else:
            # A row of each class stands for this many where the threshold will be used.
            miss, alarm = target * prevalence / positives, (1 - prevalence) / negatives
        threshold = _cheapest(y, scores, miss, alarm)
    else:
        # In whole numbers, so that equal values are equal.
        threshold = _cheapest(y, scores, negatives, positives)
    return OperatingPoint(
        kind=kind,
        target=target,
        threshold=threshold,
        chosen_on=confusion(y, scores, threshold),
        prevalence=prevalence,
    )


def _cheapest(labels: Bools, scores: Floats, miss: float, alarm: float) -> float:
    """The lowest threshold with the least cost of all missed positives and false alarms."""
    thresholds, true_positives, false_positives = counts_by_threshold(labels, scores)
    thresholds = np.append(above_all(scores), thresholds)
    missed = labels.sum() - np.append(0.0, true_positives)
    cost = miss * missed + alarm * np.append(0.0, false_positives)
    # Costs that differ by rounding alone are equal; the lowest threshold is the most sensitive.
    equal = cost <= cost.min() + 1e-15 * cost.max()
    return float(thresholds[np.flatnonzero(equal)[-1]])


def _check_wishes(kind: str, target: float | None, prevalence: float | None) -> None:
    if kind not in KINDS:
        raise UsageError(
            f"operating point: kind {kind!r} is unknown; use one of {', '.join(KINDS)}"
        )
    if kind == "cost":
        if target is None or not 0 < target < math.inf:
            raise UsageError(
                f"operating point: kind 'cost' with target {target!r}; give what a missed "
                "positive costs in false alarms, above 0, e.g. 10"
            )
    elif (kind == "youden") != (target is None) or (target is not None and not 0 <= target <= 1):
        raise UsageError(
            f"operating point: kind {kind!r} with target {target!r}; give a target in 0..1 for "
            "sensitivity and specificity, and none for youden"
        )
    if prevalence is not None and (kind != "cost" or not 0 < prevalence < 1):
        raise UsageError(
            f"operating point: kind {kind!r} with prevalence {prevalence!r}; only kind 'cost' "
            "takes one, between 0 and 1"
        )
