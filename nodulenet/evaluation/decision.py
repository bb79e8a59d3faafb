"""Decision curves: what calling findings by a model is worth, over the thresholds one may hold.

Who works up a finding from a probability ``t`` on says that a missed positive weighs as much as
``(1 - t) / t`` false alarms. In that currency the net benefit of a model is

    sensitivity * prevalence - (1 - specificity) * (1 - prevalence) * t / (1 - t)

true positives a finding, less the false alarms that they cost. It is set against calling every
finding positive and against calling none, whose net benefit is 0.

Source: Vickers A. J., Elkin E. B., Medical Decision Making 26:565-574, 2006
(doi 10.1177/0272989X06295361).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.errors import UsageError
from nodulenet.evaluation.arrays import (
    Bools,
    Floats,
    check_both_classes,
    check_labels,
    check_probabilities,
)
from nodulenet.evaluation.bootstrap import cluster_weights, numbered
from nodulenet.evaluation.interval import LEVEL, percentile_interval

METHOD = "patient bootstrap"
THRESHOLDS = tuple(round(0.01 * step, 2) for step in range(1, 100))


@dataclass(frozen=True, kw_only=True)
class DecisionCurve:
    """Net benefit over threshold probabilities, a value a threshold each.

    Attributes:
        thresholds: Threshold probabilities, rising; positive means probability >= threshold.
        net_benefit: Of the model.
        low: Lower limit of it; NaN where all resamples give the same.
        high: Upper limit of it, likewise.
        treat_all: Net benefit of calling every finding positive; that of calling none is 0.
        gain: Net benefit of the model less that of the better of treat all and treat none.
        gain_low: Lower limit of it, from the same resamples.
        gain_high: Upper limit of it.
        prevalence: Share of positives that all of it holds at.
        positives: Rows with label 1.
        negatives: Rows with label 0.
        level: Of the limits.
        n_bootstrap: Number of resamples.
        seed: Root seed of the resamples.
    """

    thresholds: Floats
    net_benefit: Floats
    low: Floats
    high: Floats
    treat_all: Floats
    gain: Floats
    gain_low: Floats
    gain_high: Floats
    prevalence: float
    positives: int
    negatives: int
    level: float
    n_bootstrap: int
    seed: int

    def table(self) -> pd.DataFrame:
        """A row a threshold, with ``treat_none`` and ``alarms_for_a_miss`` = (1 - t) / t."""
        t = self.thresholds
        return pd.DataFrame(
            {
                "threshold": t,
                "alarms_for_a_miss": (1 - t) / t,
                "net_benefit": self.net_benefit,
                "low": self.low,
                "high": self.high,
                "treat_all": self.treat_all,
                "treat_none": np.zeros_like(t),
                "gain": self.gain,
                "gain_low": self.gain_low,
                "gain_high": self.gain_high,
            }
        )


def decision_curve(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    prevalence: float | None = None,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> DecisionCurve:
    """Net benefit of a model, of calling all and of calling none positive, with intervals.

    Probabilities are taken at their word: where they are not calibrated, a threshold of 10 % is
    not one, and the curve says so by lying low. At another prevalence sensitivity and specificity
    of the rows are kept and weighed anew; give probabilities that hold there
    (:func:`nodulenet.evaluation.prevalence.rebased`).

    The resamples are those of :func:`nodulenet.evaluation.bootstrap.auc_replicates` for the same
    seed. Limits hold at each threshold by itself, not for the whole curve at once.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: In 0..1, shape (n,).
        patients: The patient of each row, shape (n,); whole patients are resampled. Defaults to
            None: every row is a patient.
        thresholds: Threshold probabilities, rising, between 0 and 1. Defaults to 0.01 to 0.99 in
            steps of 0.01.
        prevalence: Share of positives, between 0 and 1. Defaults to that of the rows (in each
            resample to its own).
        n_bootstrap: Number of resamples; 0 for none. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.

    Raises:
        UsageError: thresholds, prevalence, level or resamples out of range.
        PredictionsError: one class only, or values that are not allowed.

    Source: Vickers A. J., Elkin E. B., Medical Decision Making 26:565-574, 2006.

    Example:
        >>> curve = decision_curve([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], thresholds=[0.5])
        >>> float(curve.net_benefit[0]), float(curve.treat_all[0])
        (0.0, 0.0)
    """
    t = _thresholds(thresholds)
    if prevalence is not None and not 0 < prevalence < 1:
        raise UsageError(
            f"decision curve: prevalence {prevalence}; expected a share between 0 and 1, e.g. 0.1"
        )
    if not 0 < level < 1 or n_bootstrap < 0:
        raise UsageError(
            f"decision curve: level={level}, n_bootstrap={n_bootstrap}; expected a level between 0 "
            "and 1 and resamples 0 or more, e.g. 0.95 and 2000"
        )
    y = check_labels(labels)
    p = check_probabilities(probabilities, y.size)
    positives, negatives = check_both_classes(y, "A decision curve")
    names = np.arange(y.size) if patients is None else patients
    patient, count = numbered(names, y.size)
    counts = _Counts.of(y, p, patient, count, t)

    benefit, treat_all = (row[0] for row in counts.benefits(np.ones((1, count)), prevalence))
    gain = benefit - np.maximum(treat_all, 0)
    benefits, gains = np.empty((n_bootstrap, t.size)), np.empty((n_bootstrap, t.size))
    for start, weights in cluster_weights(count, n_bootstrap, seed=seed, cells=4 * t.size):
        part = slice(start, start + len(weights))
        benefits[part], every = counts.benefits(weights, prevalence)
        gains[part] = benefits[part] - np.maximum(every, 0)
    low, high = _limits(benefits, level)
    gain_low, gain_high = _limits(gains, level)
    return DecisionCurve(
        thresholds=t,
        net_benefit=benefit,
        low=low,
        high=high,
        treat_all=treat_all,
        gain=gain,
        gain_low=gain_low,
        gain_high=gain_high,
        prevalence=positives / y.size if prevalence is None else prevalence,
        positives=positives,
        negatives=negatives,
        level=level,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


@dataclass(frozen=True)
class _Counts:
    """What each patient has.

    Attributes:
        true_positives: Float array (patients, thresholds), positives called positive.
        false_positives: The same of negatives.
        positives: Float array (patients,).
        negatives: Float array (patients,).
        odds: Float array (thresholds,), what a false alarm costs.
    """

    true_positives: Floats
    false_positives: Floats
    positives: Floats
    negatives: Floats
    odds: Floats

    @classmethod
    def of(
        cls, labels: Bools, p: Floats, patient: npt.NDArray[np.intp], count: int, t: Floats
    ) -> _Counts:
        # How many of the thresholds each row reaches; then from the highest on, added up.
        reached = np.searchsorted(t, p, side="right")

        def called(chosen: Bools) -> Floats:
            cell = patient[chosen] * (t.size + 1) + reached[chosen]
            each = np.bincount(cell, minlength=count * (t.size + 1)).reshape(count, t.size + 1)
            return np.cumsum(each[:, :0:-1], axis=1)[:, ::-1].astype(np.float64)

        return cls(
            true_positives=called(labels),
            false_positives=called(~labels),
            positives=np.bincount(patient[labels], minlength=count).astype(np.float64),
            negatives=np.bincount(patient[~labels], minlength=count).astype(np.float64),
            odds=t / (1 - t),
        )

    def benefits(self, weights: Floats, prevalence: float | None) -> tuple[Floats, Floats]:
        """Net benefit of the model and of treat all, both (b, thresholds).

        Args:
            weights: How often each patient counts, shape (b, patients).
            prevalence: As of :func:`decision_curve`; with one a resample that lacks a class has
                no result (NaN).
        """
        hits, alarms = weights @ self.true_positives, weights @ self.false_positives
        positives = (weights @ self.positives)[:, np.newaxis]
        negatives = (weights @ self.negatives)[:, np.newaxis]
        if prevalence is None:
            rows = positives + negatives
            hit, alarm = 1 / rows, 1 / rows
        else:
            hit, alarm = _share(prevalence, positives), _share(1 - prevalence, negatives)
        benefit = hits * hit - alarms * alarm * self.odds
        return benefit, positives * hit - negatives * alarm * self.odds


def _share(whole: float, parts: Floats) -> Floats:
    return np.divide(whole, parts, out=np.full_like(parts, np.nan), where=parts > 0)


def _limits(replicates: Floats, level: float) -> tuple[Floats, Floats]:
    if not len(replicates):
        return np.full(replicates.shape[1], np.nan), np.full(replicates.shape[1], np.nan)
    found = [percentile_interval(one, level=level, method=METHOD) for one in replicates.T]
    ends = [(i.low, i.high) for i in found]
    # None, where there is no interval, becomes NaN.
    low, high = np.array(ends, dtype=np.float64).T
    return low, high


def _thresholds(given: Sequence[float]) -> Floats:
    try:
        t = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        t = np.empty(0)
    if t.ndim != 1 or not t.size or not ((t > 0) & (t < 1)).all() or (np.diff(t) <= 0).any():
        raise UsageError(
            f"decision curve: thresholds {given!s:.80}; expected rising probabilities "
            "between 0 and 1, e.g. [0.01, 0.05, 0.1, 0.2]"
        )
    return t
