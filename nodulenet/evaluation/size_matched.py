"""The AUC among findings of about the same size: what a score knows beyond the diameter.

An AUC is the share of pairs of a positive and a negative that a score ranks rightly. Here only
pairs count whose sizes differ by no more than a factor, the caliper. What is left of the size comes
near 0.5 as the caliper comes near 1, and so does a model that only measures: on LIDC ratings the
diameter has 0.92 over all pairs, 0.61 at a caliper of 1.25 and 0.55 at 1.1. A model is to be read
beside the size's own row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
    check_scores,
)
from nodulenet.evaluation.bootstrap import METHOD, auc_interval, cluster_weights, numbered
from nodulenet.evaluation.interval import LEVEL, Interval
from nodulenet.evaluation.sizes import known_sizes

CALIPER = 1.25
# 10 and 8 mm differ by exactly 1.25, which logarithms miss by a rounding.
_ROUNDING = 1e-9
_CHUNK_PAIRS = 4_000_000
# Resamples times pairs of patients: about ten seconds.
_MOST_WORK = 2e10
_TOO_MANY = "too many pairs of patients for a bootstrap"


@dataclass(frozen=True, kw_only=True)
class SizeMatchedAuc:
    """An AUC over pairs of about the same size.

    Attributes:
        value: Share of the pairs in which the positive scores higher, ties one half.
        pairs: How many pairs there are.
        positives: Positives that have a pair.
        negatives: Negatives that have a pair.
        caliper: Largest ratio of the two sizes of a pair.
        bootstrap: Percentile interval when whole patients are resampled.
    """

    value: float
    pairs: int
    positives: int
    negatives: int
    caliper: float
    bootstrap: Interval

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "available": True,
            "value": self.value,
            "pairs": self.pairs,
            "positives": self.positives,
            "negatives": self.negatives,
            "caliper": self.caliper,
            "patient_bootstrap": self.bootstrap.to_dict(),
        }


def size_matched_auc(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    sizes: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    caliper: float = CALIPER,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> SizeMatchedAuc | None:
    """The AUC over the pairs of a positive and a negative of about the same size.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Finite numbers, shape (n,); any monotone scale.
        sizes: Above 0, in any unit, shape (n,).
        patients: The patient of each row, shape (n,).
        caliper: Largest ratio of the sizes of a pair, above 1. Defaults to 1.25.
        n_bootstrap: Resamples of the patients; the same as of an AUC. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.

    Returns:
        The AUC, exact over all pairs; None where there is no such pair.

    Raises:
        UsageError: the caliper is not above 1.
        PredictionsError: one class only, or values that are not allowed.

    Source: the AUC within strata of a covariate, Janes H., Pepe M. S., Biometrika 96:371-382,
    2009, with a caliper in place of strata.

    Example:
        >>> found = size_matched_auc([1, 0, 0], [0.6, 0.4, 0.9], [8, 9, 30], ["a", "b", "c"])
        >>> found.value, found.pairs
        (1.0, 1)
    """
    if not caliper > 1:
        raise UsageError(
            f"size caliper {caliper}: expected a ratio above 1, e.g. 1.25 for sizes that differ by "
            "a quarter at most (evaluate.size_caliper)"
        )
    y = check_labels(labels)
    score = check_scores(scores, y.size)
    size = check_scores(sizes, y.size, name="sizes")
    if (size <= 0).any():
        raise PredictionsError(
            f"sizes, position {int(np.argmax(size <= 0))}: expected above 0; leave out findings "
            "of unknown size"
        )
    check_both_classes(y, "A size-matched AUC")
    patient, count = numbered(patients, y.size)
    right, pairs = 0.0, 0
    paired = np.zeros(y.size, dtype=bool)
    concordance, matched = _none(count), _none(count)
    for positive, negative in _pairs(y, size, caliper):
        concordant = np.where(score[positive] == score[negative], 0.5, 0.0)
        concordant += score[positive] > score[negative]
        right += float(concordant.sum())
        pairs += positive.size
        paired[positive] = paired[negative] = True
        place = (patient[positive], patient[negative])
        concordance = concordance + _by_patients(concordant, place, count)
        matched = matched + _by_patients(np.ones(positive.size), place, count)
    if pairs == 0:
        return None
    interval = _interval(concordance, matched, n_bootstrap, seed, level)
    return SizeMatchedAuc(
        value=right / pairs,
        pairs=pairs,
        positives=int((paired & y).sum()),
        negatives=int((paired & ~y).sum()),
        caliper=caliper,
        bootstrap=interval,
    )


def size_matched_row(
    rows: pd.DataFrame, column: str, why: str, *, score: str = "probability", **options: Any
) -> dict[str, Any]:
    """The size-matched AUC of one score of a table, JSON-ready.

    Args:
        rows: Outer rows of one score, with the size in ``column`` as of
            :func:`nodulenet.evaluation.sizes.with_sizes`.
        column: The column with the size.
        why: Why sizes must not be used here; empty where they may.
        score: Column of the score. Defaults to ``"probability"``.
        options: As of :func:`size_matched_auc`.

    Returns:
        :meth:`SizeMatchedAuc.to_dict`, or ``available`` False and ``why``.
    """
    if why:
        return {"available": False, "why": why}
    own = rows[known_sizes(rows, column)]
    if own["label"].nunique() < 2:
        return {"available": False, "why": "the rows with a size do not hold both classes"}
    found = size_matched_auc(own["label"], own[score], own[column], own["patient_id"], **options)
    if found is None:
        caliper = options.get("caliper", CALIPER)
        return {
            "available": False,
            "why": f"no positive and negative have sizes within a factor of {caliper:g}",
        }
    return found.to_dict()


def _pairs(labels: Bools, sizes: Floats, caliper: float) -> Iterator[tuple[Ints, Ints]]:
    """Rows of the positives and negatives of all pairs within the caliper, in chunks."""
    logs = np.log(sizes)
    reach = np.log(caliper) + _ROUNDING
    positives, negatives = np.flatnonzero(labels), np.flatnonzero(~labels)
    negatives = negatives[np.argsort(logs[negatives], kind="stable")]
    rising = logs[negatives]
    low = np.searchsorted(rising, logs[positives] - reach, side="left")
    counts = np.searchsorted(rising, logs[positives] + reach, side="right") - low
    ends = np.cumsum(counts)
    start = 0
    while start < positives.size:
        before = ends[start - 1] if start else 0
        # At least one positive a chunk, however many pairs it has.
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK_PAIRS, side="right")))
        own = counts[start:stop]
        within = np.arange(own.sum()) - np.repeat(np.cumsum(own) - own, own)
        yield (
            np.repeat(positives[start:stop], own),
            negatives[np.repeat(low[start:stop], own) + within],
        )
        start = stop


def _none(count: int) -> Any:
    from scipy.sparse import csr_array

    return csr_array((count, count))


def _by_patients(values: Floats, place: tuple[Ints, Ints], count: int) -> Any:
    """Sums over the pairs of two patients, sparse: (patient of the positive, of the negative)."""
    from scipy.sparse import coo_array

    return coo_array((values, place), shape=(count, count)).tocsr()


def _interval(
    concordance: Any, matched: Any, n_bootstrap: int, seed: int, level: float
) -> Interval:
    if n_bootstrap * matched.nnz > _MOST_WORK:
        return Interval(low=None, high=None, level=level, method=METHOD, note=_TOO_MANY)
    patients = matched.shape[0]
    replicates = np.full(n_bootstrap, np.nan)
    for start, weights in cluster_weights(patients, n_bootstrap, seed=seed, cells=4 * patients):
        drawn = np.ascontiguousarray(weights.T)
        right = np.einsum("pb,pb->b", drawn, concordance @ drawn)
        pairs = np.einsum("pb,pb->b", drawn, matched @ drawn)
        own = replicates[start : start + len(weights)]
        np.divide(right, pairs, out=own, where=pairs > 0)
    return auc_interval(replicates, level=level)
