"""Precision and recall: how many of the rows called positive are, and how many are found.

Unlike ROC curves these depend on the share of positives, so that curves of different data cannot
be compared. A row is called positive when its score is >= the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nodulenet.evaluation.arrays import (
    Floats,
    check_both_classes,
    check_labels,
    check_scores,
)
from nodulenet.evaluation.roc import counts_by_threshold


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision (positive predictive value) over recall (sensitivity), a point a distinct score.

    Attributes:
        recall: Float array (n,), rising from 0 to 1.
        precision: Float array (n,); the first is 1 by convention, as nothing is called positive.
        thresholds: Float array (n,), falling; the first is infinite.
    """

    recall: Floats
    precision: Floats
    thresholds: Floats


def precision_recall_curve(labels: npt.ArrayLike, scores: npt.ArrayLike) -> PrecisionRecallCurve:
    """The curve with every distinct score as a threshold.

    Between its points precision is that of the point with the higher recall: a straight line
    would promise what no threshold gives. The area below these steps is
    :func:`average_precision`.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Finite numbers, shape (n,); any monotone scale.

    Raises:
        PredictionsError: one class only, or values that are not allowed.

    Source: Davis J., Goadrich M., ICML 2006 (why no straight lines); scikit-learn's
    ``precision_recall_curve`` gives the same points in the opposite order.
    """
    y = check_labels(labels)
    s = check_scores(scores, y.size)
    positives, _ = check_both_classes(y, "A precision-recall curve")
    thresholds, true_positives, false_positives = counts_by_threshold(y, s)
    return PrecisionRecallCurve(
        recall=np.concatenate([[0.0], true_positives / positives]),
        precision=np.concatenate([[1.0], true_positives / (true_positives + false_positives)]),
        thresholds=np.concatenate([[np.inf], thresholds]),
    )


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Mean precision weighted by the gain in recall, without interpolation.

    Chance gives the share of positives.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Finite numbers, shape (n,); any monotone scale.

    Raises:
        PredictionsError: one class only, or values that are not allowed.

    Source: scikit-learn's ``average_precision_score``.

    Example:
        >>> average_precision([0, 1, 1, 0], [0.1, 0.9, 0.3, 0.4])
        0.8333333333333333
    """
    curve = precision_recall_curve(labels, scores)
    return float(np.sum(np.diff(curve.recall) * curve.precision[1:]))
