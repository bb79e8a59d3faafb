"""The patient-clustered bootstrap of AUCs, paired over models, without a loop over resamples.

Whole patients are drawn with replacement, so findings of one patient stay together. A resample
is a vector of how often each patient was drawn. The AUC of all resamples then follows from one
matrix of counts, "pairs of a positive of patient p and a negative of patient q that are in the
right order", or, where that matrix would be too large, from cumulative sums.

Source: Obuchowski N. A., Biometrics 53:567-578, 1997 (why clusters); Field C. A., Welsh A. H.,
J. R. Stat. Soc. B 69:369-390, 2007 (the cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nodulenet.evaluation.arrays import (
    Bools,
    Floats,
    Ints,
    check_both_classes,
    check_labels,
    check_scores,
)
from nodulenet.evaluation.interval import LEVEL, Interval, percentile_interval
from nodulenet.evaluation.roc import SEPARATED
from nodulenet.seeds import generator

METHOD = "patient bootstrap"
_MATRIX_CELLS = 4_000_000
_MATRIX_WORK = 100_000_000
_CHUNK_CELLS = 4_000_000


def auc_replicates(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> Floats:
    """Bootstrap replicates of the AUCs of k scores on the same rows and the same resamples.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Shape (n,) or (k, n).
        patients: The patient of each row, shape (n,).
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
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    patient = patient.reshape(-1)
    count = int(patient.max()) + 1
    if n_bootstrap < 1:
        return np.empty((len(checked), 0))

    with_positive = np.unique(patient[y])
    with_negative = np.unique(patient[~y])
    fits = (
        with_positive.size * with_negative.size <= _MATRIX_CELLS
        and with_negative.size * int(y.sum()) <= _MATRIX_WORK
    )
    replicates = np.empty((len(checked), n_bootstrap))
    if fits:
        matrices = [ordered_pairs(y, s, patient, with_positive, with_negative) for s in checked]
        n_positive = np.bincount(patient[y], minlength=count)[with_positive].astype(np.float64)
        n_negative = np.bincount(patient[~y], minlength=count)[with_negative].astype(np.float64)
        for start, weights in cluster_weights(count, n_bootstrap, seed=seed):
            stop = start + len(weights)
            positive, negative = weights[:, with_positive], weights[:, with_negative]
            pairs = (positive @ n_positive) * (negative @ n_negative)
            for index, matrix in enumerate(matrices):
                ordered = np.einsum("bq,bq->b", positive @ matrix, negative)
                replicates[index, start:stop] = _share(ordered, pairs)
    else:
        for start, weights in cluster_weights(count, n_bootstrap, seed=seed, cells=y.size):
            stop = start + len(weights)
            for index, s in enumerate(checked):
                replicates[index, start:stop] = weighted_aucs(y, s, weights[:, patient])
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
    """The percentile interval of AUC replicates, or none where all of them are 0 or all are 1."""
    defined = replicates[np.isfinite(replicates)]
    if defined.size and (np.all(defined == 1.0) or np.all(defined == 0.0)):
        return Interval(low=None, high=None, level=level, method=METHOD, note=SEPARATED)
    return percentile_interval(replicates, level=level, method=METHOD)


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


def ordered_pairs(
    labels: Bools, scores: Floats, patient: Ints, with_positive: Ints, with_negative: Ints
) -> Floats:
    """Number of (positive, negative) pairs in the right order, ties one half.

    Args:
        labels: Shape (n,).
        scores: Shape (n,).
        patient: Patient number of each row, shape (n,).
        with_positive: The patients that have a positive, sorted: the rows of the matrix.
        with_negative: The patients that have a negative, sorted: its columns.

    Returns:
        Float array (len(with_positive), len(with_negative)).
    """
    positives = scores[labels]
    row_of = np.searchsorted(with_positive, patient[labels])
    negatives = scores[~labels]
    negative_patient = patient[~labels]
    order = np.lexsort((negatives, negative_patient))
    negatives = negatives[order]
    starts = np.searchsorted(negative_patient[order], with_negative)
    ends = np.append(starts[1:], negatives.size)
    matrix = np.empty((with_positive.size, with_negative.size))
    for column, (start, end) in enumerate(zip(starts, ends, strict=True)):
        own = negatives[start:end]
        below = np.searchsorted(own, positives, "left") + np.searchsorted(own, positives, "right")
        matrix[:, column] = np.bincount(row_of, weights=below, minlength=with_positive.size)
    return matrix / 2


def weighted_aucs(labels: Bools, scores: Floats, weights: Floats) -> Floats:
    """AUCs of weighted rows.

    Args:
        labels: Shape (n,).
        scores: Shape (n,).
        weights: Shape (b, n).

    Returns:
        Float array (b,), NaN where a class has no weight.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    y = labels[order].astype(np.float64)
    weights = weights[:, order]
    positive = np.add.reduceat(weights * y, first, axis=1)
    negative = np.add.reduceat(weights * (1 - y), first, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return _share(np.einsum("bg,bg->b", positive, below), pairs)


def _share(ordered: Floats, pairs: Floats) -> Floats:
    return np.divide(ordered, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)
