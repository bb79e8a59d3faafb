"""The two-by-two table at a threshold and the ratios that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from nodulenet.errors import UsageError
from nodulenet.evaluation.arrays import check_labels, check_scores, ratio
from nodulenet.evaluation.interval import LEVEL, Interval, normal_quantile, wilson

Proportion = Literal["sensitivity", "specificity", "ppv", "npv", "accuracy"]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts at a threshold; tables of several folds add up with ``+``.

    Ratios are None where they are 0/0 (no positives, nothing called positive ...).
    """

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            true_positives=self.true_positives + other.true_positives,
            false_positives=self.false_positives + other.false_positives,
            true_negatives=self.true_negatives + other.true_negatives,
            false_negatives=self.false_negatives + other.false_negatives,
        )

    @property
    def total(self) -> int:
        return (
            self.true_positives + self.false_positives + self.true_negatives + self.false_negatives
        )

    def counts_of(self, name: Proportion) -> tuple[int, int]:
        """Numerator and denominator of a proportion."""
        tp, fp = self.true_positives, self.false_positives
        tn, fn = self.true_negatives, self.false_negatives
        return {
            "sensitivity": (tp, tp + fn),
            "specificity": (tn, tn + fp),
            "ppv": (tp, tp + fp),
            "npv": (tn, tn + fn),
            "accuracy": (tp + tn, self.total),
        }[name]

    def proportion(self, name: Proportion, *, level: float = LEVEL) -> dict[str, Any]:
        """A proportion with its counts and Wilson interval, JSON-ready."""
        count, total = self.counts_of(name)
        return {
            "value": ratio(count, total),
            "count": count,
            "of": total,
            "interval": wilson(count, total, level=level).to_dict(),
        }

    @property
    def sensitivity(self) -> float | None:
        return ratio(*self.counts_of("sensitivity"))

    @property
    def specificity(self) -> float | None:
        return ratio(*self.counts_of("specificity"))

    @property
    def balanced_accuracy(self) -> float | None:
        if self.sensitivity is None or self.specificity is None:
            return None
        return (self.sensitivity + self.specificity) / 2

    @property
    def f1(self) -> float | None:
        return ratio(
            2 * self.true_positives,
            2 * self.true_positives + self.false_positives + self.false_negatives,
        )

    @property
    def mcc(self) -> float | None:
        """Matthews' correlation coefficient."""
        tp, fp = self.true_positives, self.false_positives
        tn, fn = self.true_negatives, self.false_negatives
        # math.sqrt of the factors one by one: their product leaves the exact integers of float64.
        scale = math.sqrt(tp + fp) * math.sqrt(tp + fn) * math.sqrt(tn + fp) * math.sqrt(tn + fn)
        return ratio(tp * tn - fp * fn, scale)

    @property
    def positive_likelihood_ratio(self) -> float | None:
        if self.sensitivity is None or self.specificity is None:
            return None
        return ratio(self.sensitivity, 1 - self.specificity)

    @property
    def negative_likelihood_ratio(self) -> float | None:
        if self.sensitivity is None or self.specificity is None:
            return None
        return ratio(1 - self.sensitivity, self.specificity)

    def positive_likelihood_ratio_interval(self, *, level: float = LEVEL) -> Interval:
        """The interval of sensitivity / (1 - specificity); none where a count in it is 0.

        It takes the rows as independent.

        Source: Simel D. L. et al., J. Clin. Epidemiol. 44:763-770, 1991 (the log method).
        """
        return _log_ratio_interval(
            (self.true_positives, self.true_positives + self.false_negatives),
            (self.false_positives, self.false_positives + self.true_negatives),
            level,
        )

    def negative_likelihood_ratio_interval(self, *, level: float = LEVEL) -> Interval:
        """The interval of (1 - sensitivity) / specificity; none where a count in it is 0.

        Independence and source as of :meth:`positive_likelihood_ratio_interval`.
        """
        return _log_ratio_interval(
            (self.false_negatives, self.true_positives + self.false_negatives),
            (self.true_negatives, self.false_positives + self.true_negatives),
            level,
        )

    def to_dict(self, *, level: float = LEVEL) -> dict[str, Any]:
        """Counts, proportions with intervals and the other ratios, JSON-ready."""
        names: tuple[Proportion, ...] = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
        return {
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
            "true_negatives": self.true_negatives,
            "false_negatives": self.false_negatives,
            **{name: self.proportion(name, level=level) for name in names},
            "balanced_accuracy": self.balanced_accuracy,
            "f1": self.f1,
            "mcc": self.mcc,
            "positive_likelihood_ratio": self.positive_likelihood_ratio,
            "positive_likelihood_ratio_interval": self.positive_likelihood_ratio_interval(
                level=level
            ).to_dict(),
            "negative_likelihood_ratio": self.negative_likelihood_ratio,
            "negative_likelihood_ratio_interval": self.negative_likelihood_ratio_interval(
                level=level
            ).to_dict(),
        }


def confusion(labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> Confusion:
    """Counts when a row is called positive at score >= ``threshold``.

    Raises:
        PredictionsError: labels or scores that are not allowed.
    """
    y = check_labels(labels)
    called = check_scores(scores, y.size) >= threshold
    return Confusion(
        true_positives=int((called & y).sum()),
        false_positives=int((called & ~y).sum()),
        true_negatives=int((~called & ~y).sum()),
        false_negatives=int((~called & y).sum()),
    )


def predictive_values(
    confusion: Confusion, prevalence: float, *, level: float = LEVEL
) -> dict[str, Any]:
    """PPV and NPV where the share of positives is another than in the rows, by Bayes' rule.

    Sensitivity and specificity are taken over from the rows, which holds only as far as positives
    and negatives there are like those here. The prevalence is taken as known exactly.

    Args:
        confusion: Counts at a threshold.
        prevalence: Share of positives where the test would be used, between 0 and 1.
        level: Confidence level. Defaults to 0.95.

    Returns:
        JSON-ready: ``prevalence`` and, for ``ppv`` and ``npv``, ``value`` and ``interval``. The
        value is None where it is 0/0: no rows of a class, or nothing called so.

    Raises:
        UsageError: the prevalence is not between 0 and 1.

    Source: Mercaldo N. D. et al., Statist. Med. 26:2170-2183, 2007: the logit interval and, where
    one of the four counts is 0, the adjusted one, which adds z^2 / 2 to each of them. The R
    package bdpv chooses in the same way.
    """
    if not 0 < prevalence < 1:
        raise UsageError(
            f"predictive values: prevalence {prevalence} is not between 0 and 1; give the share "
            "of positives, e.g. 0.05 for 5 %"
        )
    tp, fp = confusion.true_positives, confusion.false_positives
    tn, fn = confusion.true_negatives, confusion.false_negatives
    without = 1 - prevalence
    return {
        "prevalence": prevalence,
        "ppv": _predictive_value((tp, fn), (fp, tn), (prevalence, without), level),
        "npv": _predictive_value((tn, fp), (fn, tp), (without, prevalence), level),
    }


def _predictive_value(
    right: tuple[int, int], wrong: tuple[int, int], shares: tuple[float, float], level: float
) -> dict[str, Any]:
    """The share of right calls among all calls of one kind.

    Args:
        right: Of the class called: how many were called so, and how many were not.
        wrong: Of the other class, the same.
        shares: How frequent the class called and the other one are, before the call is known.
        level: Confidence level.
    """
    why = ""
    if sum(right) == 0 or sum(wrong) == 0:
        why = "there are no rows of one class"
    elif right[0] == 0 and wrong[0] == 0:
        why = "no row is called so"
    if why:
        nothing = Interval(low=None, high=None, level=level, method="logit", note=why)
        return {"value": None, "interval": nothing.to_dict()}
    from scipy.special import expit

    # No odds, which overflow at a prevalence next to 0.
    called = shares[0] * (right[0] / sum(right))
    falsely = shares[1] * (wrong[0] / sum(wrong))
    value = float(wrong[0] == 0) if 0 in (right[0], wrong[0]) else called / (called + falsely)

    z = normal_quantile(level)
    adjusted = 0 in (*right, *wrong)
    more = z * z / 2 if adjusted else 0.0
    a, b, c, d = (count + more for count in (*right, *wrong))
    odds = math.log(shares[0]) - math.log(shares[1])
    centre = odds + math.log(a / (a + b)) - math.log(c / (c + d))
    half = z * math.sqrt(b / a / (a + b) + d / c / (c + d))
    limits = [float(expit(logit)) for logit in (centre - half, centre + half)]
    interval = Interval(
        # Where counts were added the value itself, 0 or 1, would lie outside.
        low=min(limits[0], value),
        high=max(limits[1], value),
        level=level,
        method="adjusted logit" if adjusted else "logit",
        note="one of the four counts is 0, so a little was added to each" if adjusted else "",
    )
    return {"value": value, "interval": interval.to_dict()}


def _log_ratio_interval(first: tuple[int, int], second: tuple[int, int], level: float) -> Interval:
    """The interval of a ratio of two independent proportions, each as count and total."""
    method = "log"
    if first[0] == 0 or second[0] == 0:
        note = "a count is 0: the log method has no interval"
        return Interval(low=None, high=None, level=level, method=method, note=note)
    log_ratio = math.log(first[0] / first[1]) - math.log(second[0] / second[1])
    variance = 1 / first[0] - 1 / first[1] + 1 / second[0] - 1 / second[1]
    half = normal_quantile(level) * math.sqrt(max(0.0, variance))
    return Interval(
        low=math.exp(log_ratio - half), high=math.exp(log_ratio + half), level=level, method=method
    )
