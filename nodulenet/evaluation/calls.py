"""Calls of two models on the same rows: who is right where, tested in pairs.

McNemar's test is what papers quote and takes findings as independent; the paired bootstrap of whole
patients beside it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import Bools, Floats, check_labels, ratio
from nodulenet.evaluation.bootstrap import METHOD, cluster_weights
from nodulenet.evaluation.interval import LEVEL, Interval, percentile_interval

INDEPENDENCE = (
    "McNemar's test takes findings as independent; where patients have several, trust the paired "
    "patient bootstrap"
)
MEASURES = ("sensitivity", "specificity", "correctness")
PAIRED = f"paired {METHOD}"


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """The same rows, judged twice.

    Attributes:
        both: Rows that both got right.
        first_only: Rows that only the first got right.
        second_only: Rows that only the second got right.
        neither: Rows that neither got right.
    """

    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def total(self) -> int:
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def difference(self) -> float | None:
        """Share right of the first minus that of the second; None without rows."""
        return ratio(self.first_only - self.second_only, self.total)

    @property
    def p_value(self) -> float | None:
        """Two-sided p of McNemar's exact test; None without rows, 1 where nothing differs."""
        if self.total == 0:
            return None
        from scipy.special import bdtr

        differing = self.first_only + self.second_only
        fewer = min(self.first_only, self.second_only)
        return min(1.0, 2 * float(bdtr(fewer, differing, 0.5)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "first": ratio(self.both + self.first_only, self.total),
            "second": ratio(self.both + self.second_only, self.total),
            "difference": self.difference,
            "of": self.total,
            "both": self.both,
            "first_only": self.first_only,
            "second_only": self.second_only,
            "neither": self.neither,
            "p_value": self.p_value,
        }


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Two sets of calls on the same rows.

    Attributes:
        sensitivity: Positives called positive.
        specificity: Negatives called negative.
        correctness: Rows called what they are, of all rows.
    """

    sensitivity: PairedCounts
    specificity: PairedCounts
    correctness: PairedCounts

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).to_dict() for name in MEASURES}


def mcnemar(
    labels: npt.ArrayLike, first_positive: npt.ArrayLike, second_positive: npt.ArrayLike
) -> McNemar:
    """McNemar's exact test of two sets of calls on the same rows.

    Of the rows on which the two differ, half should favour each if they are equally good; the
    two-sided p is that of the binomial distribution. It takes the rows as independent.

    Args:
        labels: 0 or 1, shape (n,).
        first_positive: Whether the first calls a row positive, booleans or 0 and 1, shape (n,).
        second_positive: The same of the second.

    Returns:
        Counts and p values of sensitivity (positives), specificity (negatives) and correctness
        (all rows).

    Raises:
        PredictionsError: values that are not allowed, or another length.

    Source: McNemar Q., Psychometrika 12:153-157, 1947.

    Example:
        >>> mcnemar([1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 1, 0]).sensitivity.first_only
        1
    """
    y = check_labels(labels)
    first = check_calls(first_positive, y.size, "first_positive")
    second = check_calls(second_positive, y.size, "second_positive")
    return McNemar(
        sensitivity=_paired_counts(first[y], second[y]),
        specificity=_paired_counts(~first[~y], ~second[~y]),
        correctness=_paired_counts(first == y, second == y),
    )


def call_differences(
    labels: npt.ArrayLike,
    first_positive: npt.ArrayLike,
    second_positive: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Intervals of first minus second when whole patients are resampled, in pairs.

    Args:
        labels: 0 or 1, shape (n,).
        first_positive: Whether the first calls a row positive, shape (n,).
        second_positive: The same of the second.
        patients: The patient of each row, shape (n,).
        n_bootstrap: Number of resamples, the same as those of the AUCs. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.

    Returns:
        ``sensitivity``, ``specificity`` and ``correctness``, each an interval.

    Raises:
        PredictionsError: values that are not allowed, or another length.
    """
    y = check_labels(labels)
    first = check_calls(first_positive, y.size, "first_positive")
    second = check_calls(second_positive, y.size, "second_positive")
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    count = int(patient.max()) + 1
    of_rows = np.array([y, ~y, np.ones_like(y)], dtype=np.float64)
    # +1 where only the first is right, -1 where only the second is.
    gain = np.subtract(first == y, second == y, dtype=np.float64)
    rows = np.stack([np.bincount(patient, w, count) for w in of_rows], axis=1)
    gains = np.stack([np.bincount(patient, w * gain, count) for w in of_rows], axis=1)
    replicates = np.full((n_bootstrap, len(MEASURES)), np.nan)
    for start, weights in cluster_weights(count, n_bootstrap, seed=seed):
        size, gained = weights @ rows, weights @ gains
        np.divide(gained, size, out=replicates[start : start + len(weights)], where=size > 0)
    return {
        name: percentile_interval(replicates[:, column], level=level, method=PAIRED)
        for column, name in enumerate(MEASURES)
    }


def compared_calls(
    labels: npt.NDArray[Any],
    called: Floats,
    patients: npt.NDArray[Any],
    *,
    n_bootstrap: int,
    seed: int,
    level: float,
) -> dict[str, Any]:
    """McNemar's tests and the intervals beside them, JSON-ready.

    Args:
        labels: 0 or 1, shape (n,).
        called: 1 and 0 of both models, NaN where a row is not called, shape (2, n).
        patients: The patient of each row, shape (n,).
        n_bootstrap: Number of resamples.
        seed: Root seed.
        level: Confidence level.
    """
    both = np.isfinite(called).all(axis=0)
    facts: dict[str, Any] = {"rows": int(both.sum()), "rows_left_out": int((~both).sum())}
    if not both.any():
        why = "no row is called by both models"
        return {"available": False, "why": why} | facts
    first, second = called[:, both] == 1
    intervals = call_differences(
        labels[both],
        first,
        second,
        patients[both],
        n_bootstrap=n_bootstrap,
        seed=seed,
        level=level,
    )
    tests = mcnemar(labels[both], first, second).to_dict()
    return {
        "available": True,
        **facts,
        **{m: tests[m] | {"patient_bootstrap": intervals[m].to_dict()} for m in MEASURES},
        "note": INDEPENDENCE,
    }


def _paired_counts(first: Bools, second: Bools) -> PairedCounts:
    return PairedCounts(
        both=int((first & second).sum()),
        first_only=int((first & ~second).sum()),
        second_only=int((~first & second).sum()),
        neither=int((~first & ~second).sum()),
    )


def check_calls(calls: npt.ArrayLike, length: int, name: str) -> Bools:
    """Calls of shape (length,) as booleans.

    Raises:
        PredictionsError: another length, or a value that is no call.
    """
    values = np.asarray(calls)
    if values.shape != (length,):
        raise PredictionsError(
            f"{name}: expected shape ({length},), one call a row; received {values.shape}"
        )
    if values.dtype == np.bool_:
        return values
    wrong = [v for v in values.tolist() if v not in (0, 1)]
    if wrong:
        raise PredictionsError(
            f"{name}: {wrong[0]!r} is not a call; expected True and False (or 1 and 0), e.g. "
            "probability >= threshold"
        )
    return values.astype(np.bool_)
