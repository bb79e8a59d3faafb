"""Discrimination: ROC, AUC whole and partial, sensitivity and specificity at each other.

Everywhere a row is called positive when its score is >= the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

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
from nodulenet.evaluation.interval import LEVEL, Interval, normal_quantile

# Numbers, or arrays of them for many resamples at once.
AnyFloats = TypeVar("AnyFloats", float, Floats)

_ROUNDING = 1e-9
SEPARATED = (
    "the classes are perfectly separated: this method gives an interval of zero width, "
    "which says nothing"
)
NOTHING_VARIES = (
    "the variance is 0, as where all scores are equal: this method gives an interval of zero "
    "width, which says nothing"
)
# Rounding leaves about 1e-33 of equal scores.
_LEAST_VARIANCE = 1e-20


@dataclass(frozen=True)
class RocCurve:
    """The ROC curve from (0, 0) to (1, 1), one point a distinct score.

    Attributes:
        false_positive_rate: Float array (n,), rising.
        sensitivity: Float array (n,), rising.
        thresholds: Float array (n,), falling; the first is infinite (nothing is positive).
    """

    false_positive_rate: Floats
    sensitivity: Floats
    thresholds: Floats


@dataclass(frozen=True, kw_only=True)
class DelongResult:
    """AUCs of k scores on the same rows and their covariance.

    Attributes:
        aucs: Float array (k,).
        covariance: Float array (k, k); NaN where a class has a single row.
        positives: Number of positive rows.
        negatives: Number of negative rows.
    """

    aucs: Floats
    covariance: Floats
    positives: int
    negatives: int

    def interval(self, index: int = 0, *, level: float = LEVEL) -> Interval:
        """The normal interval of one AUC, cut to [0, 1]; none where it would have no width."""
        method = "DeLong"
        variance = float(self.covariance[index, index])
        value = float(self.aucs[index])
        if not np.isfinite(variance):
            note = "needs at least two rows of each class"
            return Interval(low=None, high=None, level=level, method=method, note=note)
        if value in (0.0, 1.0):
            return Interval(low=None, high=None, level=level, method=method, note=SEPARATED)
        if variance < _LEAST_VARIANCE:
            return Interval(low=None, high=None, level=level, method=method, note=NOTHING_VARIES)
        half = normal_quantile(level) * float(np.sqrt(variance))
        return Interval(
            low=max(0.0, value - half), high=min(1.0, value + half), level=level, method=method
        )


@dataclass(frozen=True, kw_only=True)
class PartialAuc:
    """Area under the left part of a ROC curve.

    Attributes:
        max_fpr: The false-positive rate (1 - specificity) at which the curve is cut.
        area: From 0 to ``max_fpr``.
        standardized: 1 for a perfect score and 0.5 for chance, whatever ``max_fpr``.
    """

    max_fpr: float
    area: float
    standardized: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"max_fpr": self.max_fpr, "area": self.area, "standardized": self.standardized}


@dataclass(frozen=True, kw_only=True)
class FixedSpecificity:
    """Sensitivity where the specificity is at least a target.

    Attributes:
        target: The specificity asked for.
        threshold: The lowest score that reaches it; above all scores where none does.
        confusion: The counts there.
    """

    target: float
    threshold: float
    confusion: Confusion

    def to_dict(self, *, level: float = LEVEL) -> dict[str, Any]:
        """JSON-ready: target, threshold, sensitivity and specificity with Wilson intervals."""
        return _at_threshold(self, level)


@dataclass(frozen=True, kw_only=True)
class FixedSensitivity:
    """Specificity where the sensitivity is at least a target.

    Attributes:
        target: The sensitivity asked for.
        threshold: The highest score that reaches it; above all scores for a target of 0.
        confusion: The counts there.
    """

    target: float
    threshold: float
    confusion: Confusion

    def to_dict(self, *, level: float = LEVEL) -> dict[str, Any]:
        """JSON-ready: target, threshold, sensitivity and specificity with Wilson intervals."""
        return _at_threshold(self, level)


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: P(positive scores higher) + P(tie) / 2.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Finite numbers, shape (n,); any monotone scale.

    Raises:
        PredictionsError: one class only, or values that are not allowed.

    Example:
        >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    y = check_labels(labels)
    s = check_scores(scores, y.size)
    positives, negatives = check_both_classes(y, "AUC")
    from scipy.stats import rankdata

    rank_sum = float(rankdata(s)[y].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def delong(labels: npt.ArrayLike, scores: npt.ArrayLike) -> DelongResult:
    """AUC and its DeLong covariance by midranks, O(n log n).

    It takes the rows as independent; see :func:`nodulenet.evaluation.bootstrap.auc_bootstrap`
    where a patient has several findings.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Shape (n,), or (k, n) for k scores of the same rows.

    Raises:
        PredictionsError: one class only, or values that are not allowed.

    Source: DeLong E. R. et al., Biometrics 44:837-845, 1988; Sun X., Xu W., IEEE Signal
    Processing Letters 21:1389-1393, 2014.
    """
    y = check_labels(labels)
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    checked = np.stack([check_scores(row, y.size) for row in rows])
    positives, negatives = check_both_classes(y, "DeLong's variance")
    from scipy.stats import rankdata

    everything = rankdata(checked, axis=1)
    among_positives = rankdata(checked[:, y], axis=1)
    among_negatives = rankdata(checked[:, ~y], axis=1)
    # The share of negatives below each positive, and of positives above each negative.
    below = (everything[:, y] - among_positives) / negatives
    above = 1.0 - (everything[:, ~y] - among_negatives) / positives
    return DelongResult(
        aucs=below.mean(axis=1),
        covariance=_covariance(below) / positives + _covariance(above) / negatives,
        positives=positives,
        negatives=negatives,
    )


def roc_curve(labels: npt.ArrayLike, scores: npt.ArrayLike) -> RocCurve:
    """The ROC curve with every distinct score as a threshold.

    Raises:
        PredictionsError: one class only, or values that are not allowed.
    """
    y = check_labels(labels)
    s = check_scores(scores, y.size)
    positives, negatives = check_both_classes(y, "A ROC curve")
    thresholds, true_positives, false_positives = counts_by_threshold(y, s)
    return RocCurve(
        false_positive_rate=np.concatenate([[0.0], false_positives / negatives]),
        sensitivity=np.concatenate([[0.0], true_positives / positives]),
        thresholds=np.concatenate([[np.inf], thresholds]),
    )


def partial_auc(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, max_fpr: float = 0.1
) -> PartialAuc:
    """Area under the ROC curve where the false-positive rate is at most ``max_fpr``.

    The curve is cut on the straight line between its points, as a tie of positives and negatives
    leaves open which of them comes first.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Finite numbers, shape (n,).
        max_fpr: Upper end of the false-positive rate, above 0 and at most 1. Defaults to 0.1.

    Raises:
        UsageError: ``max_fpr`` is not in that range.
        PredictionsError: one class only, or values that are not allowed.

    Source: McClish D. K., Medical Decision Making 9:190-195, 1989; scikit-learn's
    ``roc_auc_score(max_fpr=...)`` gives the same standardised area.

    Example:
        >>> partial_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], max_fpr=0.5).area
        0.25
    """
    check_max_fpr(max_fpr)
    y = check_labels(labels)
    s = check_scores(scores, y.size)
    check_both_classes(y, "A partial AUC")
    curve = roc_curve(y, s)
    x, height = curve.false_positive_rate, curve.sensitivity
    stop = int(np.searchsorted(x, max_fpr, side="right"))
    at_cut = np.interp(max_fpr, x[stop - 1 : stop + 1], height[stop - 1 : stop + 1])
    area = float(np.trapezoid(np.append(height[:stop], at_cut), x=np.append(x[:stop], max_fpr)))
    return PartialAuc(
        max_fpr=max_fpr, area=area, standardized=float(standardized_area(area, max_fpr))
    )


def sensitivity_at_specificity(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, specificity: float = 0.9
) -> FixedSpecificity:
    """The highest sensitivity with at least the given specificity.

    The threshold is found on the same rows, so this describes the ROC curve; for a threshold
    to be used elsewhere see :func:`nodulenet.evaluation.operating.operating_point`.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Finite numbers, shape (n,).
        specificity: Target in 0..1. Defaults to 0.9.

    Raises:
        UsageError: the target is not in 0..1.
        PredictionsError: one class only, or values that are not allowed.
    """
    check_target("specificity", specificity)
    y = check_labels(labels)
    s = check_scores(scores, y.size)
    check_both_classes(y, "Sensitivity at a specificity")
    threshold = specificity_threshold(y, s, specificity)
    return FixedSpecificity(
        target=specificity, threshold=threshold, confusion=confusion(y, s, threshold)
    )


def specificity_at_sensitivity(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, sensitivity: float = 0.9
) -> FixedSensitivity:
    """The highest specificity with at least the given sensitivity.

    As in :func:`sensitivity_at_specificity` the threshold is found on the same rows.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Finite numbers, shape (n,).
        sensitivity: Target in 0..1. Defaults to 0.9.

    Raises:
        UsageError: the target is not in 0..1.
        PredictionsError: one class only, or values that are not allowed.
    """
    check_target("sensitivity", sensitivity)
    y = check_labels(labels)
    s = check_scores(scores, y.size)
    check_both_classes(y, "Specificity at a sensitivity")
    threshold = sensitivity_threshold(y, s, sensitivity)
    return FixedSensitivity(
        target=sensitivity, threshold=threshold, confusion=confusion(y, s, threshold)
    )


def counts_by_threshold(labels: Bools, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Distinct scores, falling, and the true and false positives at score >= each of them."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    true_positives = np.cumsum(labels[order], dtype=np.float64)[last]
    return ordered[last], true_positives, last + 1.0 - true_positives


def specificity_threshold(labels: Bools, scores: Floats, target: float) -> float:
    """The lowest score whose specificity is >= ``target``; just above all scores if none."""
    thresholds, _, false_positives = counts_by_threshold(labels, scores)
    negatives = float(np.sum(~labels))
    reached = np.flatnonzero(false_positives <= most_false_positives(negatives, target))
    if reached.size == 0:
        return above_all(scores)
    return float(thresholds[reached[-1]])


def sensitivity_threshold(labels: Bools, scores: Floats, target: float) -> float:
    """The highest score whose sensitivity is >= ``target``; just above all scores for 0."""
    thresholds, true_positives, _ = counts_by_threshold(labels, scores)
    fewest = fewest_true_positives(float(np.sum(labels)), target)
    if fewest <= 0:
        return above_all(scores)
    return float(thresholds[int(np.argmax(true_positives >= fewest))])


def above_all(scores: Floats) -> float:
    """The lowest threshold at which nothing is called positive; finite, as JSON wants it."""
    return float(np.nextafter(scores.max(), np.inf))


# The tolerance keeps 0.9 of 10 rows from being missed by a rounding of 1 - 0.9.
def most_false_positives(negatives: AnyFloats, specificity: float) -> AnyFloats:
    """How many false positives a specificity allows."""
    return negatives * (1 - specificity) + _ROUNDING


def fewest_true_positives(positives: AnyFloats, sensitivity: float) -> AnyFloats:
    """How many true positives a sensitivity needs."""
    return positives * sensitivity - _ROUNDING


def standardized_area(area: AnyFloats, max_fpr: float) -> AnyFloats:
    """McClish's partial area: 1 for a perfect score, 0.5 for chance."""
    chance = max_fpr**2 / 2
    return 0.5 * (1 + (area - chance) / (max_fpr - chance))


def check_max_fpr(max_fpr: float) -> None:
    """Refuses an upper end of the partial AUC that is not above 0 and at most 1.

    Raises:
        UsageError: it is not.
    """
    if not 0 < max_fpr <= 1:
        raise UsageError(
            f"partial AUC: max_fpr {max_fpr} is not above 0 and at most 1; give the highest "
            "false-positive rate of interest, e.g. 0.1"
        )


def check_target(name: str, target: float) -> None:
    """Refuses a sensitivity or specificity that is not in 0..1.

    Raises:
        UsageError: it is not.
    """
    if not 0 <= target <= 1:
        raise UsageError(f"{name} {target} is not in 0..1; give a share, e.g. 0.9 for 90 %")


def _at_threshold(point: FixedSpecificity | FixedSensitivity, level: float) -> dict[str, Any]:
    return {
        "target": point.target,
        "threshold": point.threshold,
        "sensitivity": point.confusion.proportion("sensitivity", level=level),
        "specificity": point.confusion.proportion("specificity", level=level),
    }


def _covariance(values: Floats) -> Floats:
    """Covariance over columns with n - 1; NaN when there is a single column."""
    if values.shape[1] < 2:
        return np.full((values.shape[0], values.shape[0]), np.nan)
    centred = values - values.mean(axis=1, keepdims=True)
    return centred @ centred.T / (values.shape[1] - 1)
