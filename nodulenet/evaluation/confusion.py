"""The two-by-two table at a threshold and the ratios that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from nodulenet.evaluation.arrays import check_labels, check_scores, ratio
from nodulenet.evaluation.interval import LEVEL, wilson

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
            "negative_likelihood_ratio": self.negative_likelihood_ratio,
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
