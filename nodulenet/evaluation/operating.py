"""Operating points: a threshold chosen on inner rows, to be used on rows never seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nodulenet.errors import UsageError
from nodulenet.evaluation.arrays import check_both_classes, check_labels, check_scores
from nodulenet.evaluation.confusion import Confusion, confusion
from nodulenet.evaluation.roc import counts_by_threshold, specificity_threshold

Kind = Literal["youden", "sensitivity", "specificity"]


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold and where it comes from; positive means score >= threshold.

    Attributes:
        kind: How it was chosen.
        target: The sensitivity or specificity asked for; None for Youden.
        threshold: Always a finite number.
        chosen_on: The counts on the rows it was chosen on (optimistic by nature).
    """

    kind: Kind
    target: float | None
    threshold: float
    chosen_on: Confusion

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "target": self.target,
            "threshold": self.threshold,
            "chosen_on": {
                "rows": self.chosen_on.total,
                "sensitivity": self.chosen_on.sensitivity,
                "specificity": self.chosen_on.specificity,
            },
        }


def operating_point(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    kind: Kind = "youden",
    target: float | None = None,
) -> OperatingPoint:
    """Chooses a threshold; give it inner rows, never the rows it is reported on.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Finite scores, shape (n,).
        kind: ``"youden"`` (highest sensitivity + specificity; of several, the highest
            sensitivity), ``"sensitivity"`` (the highest threshold with at least the target) or
            ``"specificity"`` (the lowest threshold with at least the target). Defaults to
            ``"youden"``.
        target: In 0..1, for the last two. Defaults to None.

    Raises:
        UsageError: an unknown kind, or a target that is missing, superfluous or outside 0..1.
        PredictionsError: one class only, or values that are not allowed.

    Source: Youden W. J., Cancer 3:32-35, 1950.

    Example:
        >>> operating_point([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9]).threshold
        0.6
    """
    if kind not in ("youden", "sensitivity", "specificity"):
        raise UsageError(
            f"operating point: kind {kind!r} is unknown; use youden, sensitivity or specificity"
        )
    if (kind == "youden") != (target is None) or (target is not None and not 0 <= target <= 1):
        raise UsageError(
            f"operating point: kind {kind!r} with target {target!r}; give a target in 0..1 for "
            "sensitivity and specificity, and none for youden"
        )
    y = check_labels(labels)
    scores = check_scores(probabilities, y.size, name="probabilities")
    positives, negatives = check_both_classes(y, "An operating point")
    thresholds, true_positives, false_positives = counts_by_threshold(y, scores)
    if kind == "youden":
        # In whole numbers, so that equal values are equal; of equals the last has the lowest
        # threshold, hence the highest sensitivity.
        gain = true_positives * negatives - false_positives * positives
        best = int(np.flatnonzero(gain == gain.max())[-1])
        threshold = float(thresholds[best])
    elif kind == "sensitivity":
        assert target is not None
        reached = true_positives >= positives * target - 1e-9
        threshold = float(thresholds[int(np.argmax(reached))])
    else:
        assert target is not None
        threshold = specificity_threshold(y, scores, target)
    return OperatingPoint(
        kind=kind, target=target, threshold=threshold, chosen_on=confusion(y, scores, threshold)
    )
