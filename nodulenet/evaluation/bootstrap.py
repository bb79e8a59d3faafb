"""The patient-clustered bootstrap of AUCs and other metrics, without a loop over resamples.

Whole patients are drawn with replacement, so findings of one patient stay together. A resample
is a vector of how often each patient was drawn. All metrics of a resample then follow from its
counts of true and false positives at the thresholds at which a positive lies, which a sparse
product gives for many resamples at once: at no other threshold does any of them change.

A percentile interval of a metric whose threshold is found on the resample itself (sensitivity at
a specificity and the like) holds the uncertainty of that threshold, too.

Source: Obuchowski N. A., Biometrics 53:567-578, 1997 (why clusters); Field C. A., Welsh A. H.,
J. R. Stat. Soc. B 69:369-390, 2007 (the cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.arrays import (
    Bools,
    Floats,
    Ints,
    check_both_classes,
    check_labels,
    check_probabilities,
    check_scores,
)
from nodulenet.evaluation.interval import (
    LEAST_SPREAD,
    LEVEL,
    NO_SPREAD,
    Interval,
    percentile_interval,
)
from nodulenet.evaluation.roc import (
    SEPARATED,
    check_max_fpr,
    check_target,
    fewest_true_positives,
    most_false_positives,
    standardized_area,
)
from nodulenet.seeds import generator

METHOD = "patient bootstrap"
RANK_METRICS = (
    "average_precision",
    "partial_auc",
    "sensitivity_at_specificity",
    "specificity_at_sensitivity",
)
METRICS = (*RANK_METRICS, "brier")
_CHUNK_CELLS = 4_000_000


def auc_replicates(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    everybody: npt.ArrayLike | None = None,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> Floats:
    """Bootstrap replicates of the AUCs of k scores on the same rows and the same resamples.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Shape (n,) or (k, n).
        patients: The patient of each row, shape (n,).
        everybody: All patients that are drawn from, where the rows are part of a larger study:
            calls with the same ones have the same resamples, whatever their rows. Defaults to
            those of the rows.
        n_bootstrap: Number of resamples. Defaults to 2000.
        seed: Root seed. Defaults to 0.

    Returns:
        Float array (k, n_bootstrap); NaN where a resample lacks one class.

    Raises:
        PredictionsError: one class only, or values that are not allowed.
    """
    y = check_labels(labels)
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    checked = [check_scores(row, y.size) for row in rows]
    check_both_classes(y, "The bootstrap of an AUC")
    patient, count = numbered(patients, y.size)
    if everybody is not None:
        patient, count = _among(patients, everybody)
    if n_bootstrap < 1:
        return np.empty((len(checked), 0))

    each = [_Steps.of(y, s, patient, count) for s in checked]
    replicates = np.empty((len(each), n_bootstrap))
    cells = max(steps.cells for steps in each)
    for start, weights in cluster_weights(count, n_bootstrap, seed=seed, cells=cells):
        for index, steps in enumerate(each):
            replicates[index, start : start + len(weights)] = steps.drawn(weights).auc()
    return replicates


def auc_bootstrap(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The percentile interval of one AUC when whole patients are resampled.

    Args and errors as of :func:`auc_replicates`, with ``scores`` of shape (n,).
    """
    replicates = auc_replicates(labels, scores, patients, n_bootstrap=n_bootstrap, seed=seed)[0]
    return auc_interval(replicates, level=level)


def auc_interval(replicates: Floats, *, level: float = LEVEL) -> Interval:
    """The percentile interval of AUC replicates, or none where all of them are the same."""
    return _interval(replicates, level, extremes=(0.0, 1.0))


def metric_replicates(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    patients: npt.ArrayLike,
    metrics: Sequence[str],
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    max_fpr: float = 0.1,
    specificity: float = 0.9,
    sensitivity: float = 0.9,
) -> dict[str, Floats]:
    """Bootstrap replicates of several metrics of one model on the same resamples.

    They are the resamples that :func:`auc_replicates` draws for the same seed, and each replicate
    is what the plain function gives for the rows written out as often as they were drawn.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,); any finite scores will do for all but ``brier``.
        patients: The patient of each row, shape (n,).
        metrics: Any of ``average_precision, partial_auc`` (standardised),
            ``sensitivity_at_specificity, specificity_at_sensitivity, brier``.
        n_bootstrap: Number of resamples. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        max_fpr: Upper end of the partial AUC. Defaults to 0.1.
        specificity: At which sensitivity is taken. Defaults to 0.9.
        sensitivity: At which specificity is taken. Defaults to 0.9.

    Returns:
        Metric -> float array (n_bootstrap,); NaN where a resample lacks one class, which the
        Brier score does not mind.

    Raises:
        UsageError: an unknown metric, or ``max_fpr`` or a target out of range.
        PredictionsError: one class only (Brier score alone: allowed), or values that are not
            allowed.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise UsageError(
            f"bootstrap: metric {unknown[0]!r} is unknown; use any of {', '.join(METRICS)}"
        )
    check_max_fpr(max_fpr)
    check_target("specificity", specificity)
    check_target("sensitivity", sensitivity)
    y = check_labels(labels)
    check = check_probabilities if "brier" in metrics else check_scores
    scores = check(probabilities, y.size)
    patient, count = numbered(patients, y.size)
    ranks = any(name in RANK_METRICS for name in metrics)
    if ranks:
        check_both_classes(y, "The bootstrap of " + ", ".join(metrics))
    replicates = {name: np.empty(max(0, n_bootstrap)) for name in metrics}
    if n_bootstrap < 1 or not metrics:
        return replicates

    rows = np.bincount(patient, minlength=count).astype(np.float64)
    steps = _Steps.of(y, scores, patient, count) if ranks else None
    errors = (
        np.bincount(patient, weights=(scores - y) ** 2, minlength=count)
        if "brier" in metrics
        else None
    )
    cells = steps.cells if steps else 0
    for start, weights in cluster_weights(count, n_bootstrap, seed=seed, cells=cells):
        part = slice(start, start + len(weights))
        if errors is not None:
            replicates["brier"][part] = (weights @ errors) / (weights @ rows)
        if steps is None:
            continue
        counts = steps.drawn(weights)
        for name in metrics:
            if name == "average_precision":
                replicates[name][part] = counts.average_precision()
            elif name == "partial_auc":
                replicates[name][part] = counts.partial_auc(max_fpr)
            elif name == "sensitivity_at_specificity":
                replicates[name][part] = counts.sensitivity_at(specificity)
            elif name == "specificity_at_sensitivity":
                replicates[name][part] = counts.specificity_at(sensitivity)
    return replicates


def metric_intervals(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    patients: npt.ArrayLike,
    metrics: Sequence[str],
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    max_fpr: float = 0.1,
    specificity: float = 0.9,
    sensitivity: float = 0.9,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """The percentile interval of each metric when whole patients are resampled.

    Args and errors as of :func:`metric_replicates`.
    """
    replicates = metric_replicates(
        labels,
        probabilities,
        patients,
        metrics,
        n_bootstrap=n_bootstrap,
        seed=seed,
        max_fpr=max_fpr,
        specificity=specificity,
        sensitivity=sensitivity,
    )
    # Where a metric of ranks is at its best in all resamples the classes are separated; the other
    # end, and a Brier score without spread, has no such name.
    return {
        name: _interval(values, level, extremes=(1.0,) if name in RANK_METRICS else ())
        for name, values in replicates.items()
    }


def cluster_weights(
    clusters: int, n_bootstrap: int, *, seed: int, cells: int = 0
) -> Iterator[tuple[int, Floats]]:
    """How often each cluster is drawn, resample by resample, in chunks.

    Args:
        clusters: Number of clusters, each as likely as another.
        n_bootstrap: Number of resamples.
        seed: Root seed; the same seed and number of clusters give the same resamples.
        cells: What one resample costs the caller in array cells, where that is more than
            ``clusters``; the chunk is chosen by it. Defaults to 0.

    Yields:
        The number of the first resample and a float array (chunk, clusters).
    """
    random = generator(seed, "bootstrap")
    chunk = max(1, _CHUNK_CELLS // max(clusters, cells))
    for start in range(0, n_bootstrap, chunk):
        size = min(chunk, n_bootstrap - start)
        drawn = random.integers(0, clusters, size=(size, clusters))
        drawn += np.arange(size)[:, np.newaxis] * clusters
        counts = np.bincount(drawn.ravel(), minlength=size * clusters)
        yield start, counts.reshape(size, clusters).astype(np.float64)


@dataclass(frozen=True)
class _Steps:
    """Which patient has how many rows at each distinct score of a positive, scores falling.

    Attributes:
        positive: Sparse (scores, patients), positives with the score.
        tied: The same of negatives with the score.
        between: The same of negatives below the score before and above this one.
        positives: Float array (patients,), all positives.
        negatives: Float array (patients,), all negatives.
    """

    positive: Any
    tied: Any
    between: Any
    positives: Floats
    negatives: Floats

    @classmethod
    def of(cls, labels: Bools, scores: Floats, patient: Ints, patients: int) -> _Steps:
        from scipy.sparse import csr_array

        rising = np.unique(scores[labels])
        # How many distinct scores of positives lie above each row: the step it comes with.
        step = rising.size - np.searchsorted(rising, scores, side="right")
        last = step == rising.size
        tied = ~labels & ~last
        tied[tied] = rising[::-1][step[tied]] == scores[tied]

        def matrix(chosen: Bools) -> Any:
            place = (step[chosen], patient[chosen])
            ones = np.ones(place[0].size)
            # Rows of one patient at one step add up.
            return csr_array((ones, place), shape=(rising.size, patients))

        return cls(
            positive=matrix(labels),
            tied=matrix(tied),
            between=matrix(~labels & ~last & ~tied),
            positives=np.bincount(patient[labels], minlength=patients).astype(np.float64),
            negatives=np.bincount(patient[~labels], minlength=patients).astype(np.float64),
        )

    @property
    def cells(self) -> int:
        """What a resample costs: about eight arrays of (thresholds, resamples) live at once."""
        return 8 * int(self.positive.shape[0])

    def drawn(self, weights: Floats) -> _Counts:
        """The counts of resamples, from how often each patient was drawn: (b, patients)."""
        drawn = np.ascontiguousarray(weights.T)
        positive, tied = self.positive @ drawn, self.tied @ drawn
        return _Counts(
            positive=positive,
            tied=tied,
            true_positives=np.cumsum(positive, axis=0),
            false_positives=np.cumsum(self.between @ drawn + tied, axis=0),
            positives=weights @ self.positives,
            negatives=weights @ self.negatives,
        )


@dataclass(frozen=True)
class _Counts:
    """Counts of b resamples at k thresholds, which fall: each a distinct score of a positive.

    Attributes:
        positive: Float array (k, b), positives with just that score.
        tied: Float array (k, b), negatives with just that score.
        true_positives: Float array (k, b), at score >= threshold.
        false_positives: The same.
        positives: Float array (b,), all of them.
        negatives: Float array (b,), all of them.
    """

    positive: Floats
    tied: Floats
    true_positives: Floats
    false_positives: Floats
    positives: Floats
    negatives: Floats

    def auc(self) -> Floats:
        # Negatives below each score, ties one half.
        below = self.negatives - self.false_positives + self.tied / 2
        pairs = self.positives * self.negatives
        return self._defined(np.einsum("kb,kb->b", self.positive, below), pairs)

    def average_precision(self) -> Floats:
        called = self.true_positives + self.false_positives
        precision = np.divide(self.true_positives, called, out=called, where=called > 0)
        return self._defined(np.einsum("kb,kb->b", self.positive, precision), self.positives)

    def partial_auc(self, max_fpr: float) -> Floats:
        """Standardised; a tie of positives and negatives is a slope, cut where it is cut."""
        cut = max_fpr * self.negatives
        before_tie = self.false_positives - self.tied
        height = self.true_positives - self.positive
        # Steps to the right below each threshold: of the negatives between, then of those tied.
        ends = np.minimum(self.false_positives, cut)
        tie_starts = np.minimum(before_tie, cut)
        starts = np.concatenate([np.zeros((1, cut.size)), ends[:-1]])
        width = ends - tie_starts
        area = np.einsum("kb,kb->b", height, ends - starts)
        share = np.divide(width, self.tied, out=np.zeros_like(width), where=self.tied > 0)
        area += np.einsum("kb,kb,kb->b", self.positive, width, share) / 2
        area += self.positives * (cut - ends[-1])  # beyond the lowest positive
        area = self._defined(area, self.positives * self.negatives)
        return standardized_area(area, max_fpr)

    def sensitivity_at(self, specificity: float) -> Floats:
        reached = self.false_positives <= most_false_positives(self.negatives, specificity)
        best = np.max(self.true_positives, axis=0, where=reached, initial=0.0)
        return self._defined(best, self.positives)

    def specificity_at(self, sensitivity: float) -> Floats:
        fewest = fewest_true_positives(self.positives, sensitivity)
        first = np.argmax(self.true_positives >= fewest, axis=0)
        alarms = np.take_along_axis(self.false_positives, first[np.newaxis], axis=0)[0]
        right = self.negatives - np.where(fewest <= 0, 0.0, alarms)
        return self._defined(right, self.negatives)

    def _defined(self, numerator: Floats, denominator: Floats) -> Floats:
        """The quotient where both classes were drawn, else NaN."""
        both = (self.positives > 0) & (self.negatives > 0)
        return np.divide(numerator, denominator, out=np.full(both.shape, np.nan), where=both)


def _interval(replicates: Floats, level: float, *, extremes: tuple[float, ...]) -> Interval:
    interval = percentile_interval(replicates, level=level, method=METHOD)
    if interval.note == NO_SPREAD:
        value = float(np.nanmax(replicates))
        if any(abs(value - extreme) < LEAST_SPREAD for extreme in extremes):
            return replace(interval, note=SEPARATED)
    return interval


def _among(patients: npt.ArrayLike, everybody: npt.ArrayLike) -> tuple[Ints, int]:
    """The patient of each row as a number among all of a study; how many these are."""
    names, known = np.asarray(patients), np.unique(np.asarray(everybody))
    number = np.minimum(np.searchsorted(known, names), known.size - 1)
    strange = np.flatnonzero(known[number] != names)
    if strange.size:
        raise PredictionsError(
            f"patients, position {int(strange[0])}: {names[strange[0]]} is not among everybody; "
            "name all patients of the study there"
        )
    return number, known.size


def numbered(patients: npt.ArrayLike, rows: int) -> tuple[Ints, int]:
    """The patient of each row as a number from 0, in the order of their names; how many."""
    names = np.asarray(patients)
    if names.shape != (rows,):
        raise PredictionsError(
            f"patients must have one value a label: expected shape ({rows},), "
            f"received {names.shape}"
        )
    missing = np.flatnonzero(pd.isna(names))
    if missing.size:
        raise PredictionsError(
            f"patients, position {int(missing[0])}: missing; name the patient of every row"
        )
    known, number = np.unique(names, return_inverse=True)
    return number.reshape(-1), known.size
