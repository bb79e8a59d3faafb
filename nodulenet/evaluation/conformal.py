"""Class-conditional conformal sets: answers that name the share of misses they allow themselves.

For each class, a limit is taken from calibration rows of that class: a negative finding is above
the negatives' limit in at most ``miss_rate`` of the cases, a positive one below the positives'
limit. What is within one limit alone gets that class. What is within both, or within neither, is
indeterminate: the set then holds both classes.

The guarantee is marginal: over calibration and new findings that are exchangeable within their
class. Findings of one patient are not quite so, and another hospital's are not; so the coverage
is measured on findings of the outer folds and reported with an interval by patient.

Source: Vovk V., Asian Conference on Machine Learning, PMLR 25:475-490, 2012 (conditional on the
class); Angelopoulos A. N., Bates S., arXiv:2107.07511, 2021 (split conformal).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.arrays import (
    Bools,
    Floats,
    check_both_classes,
    check_labels,
    check_probabilities,
)
from nodulenet.evaluation.bootstrap import METHOD, cluster_weights, numbered
from nodulenet.evaluation.interval import LEVEL, percentile_interval


@dataclass(frozen=True, kw_only=True)
class ConformalSets:
    """Fitted limits; plain floats that apply with NumPy alone.

    Attributes:
        miss_rate: Of each class, the share of findings whose set may miss it.
        negative_up_to: Probabilities up to this do not rule out label 0.
        positive_from: Probabilities from this on do not rule out label 1.
    """

    miss_rate: float
    negative_up_to: float
    positive_from: float

    def sets(self, probabilities: npt.ArrayLike) -> tuple[Bools, Bools]:
        """Whether label 0, and whether label 1, is in the set of each probability."""
        p = np.asarray(probabilities, dtype=np.float64)
        negative, positive = p <= self.negative_up_to, p >= self.positive_from
        neither = ~negative & ~positive
        return negative | neither, positive | neither

    def to_dict(self) -> dict[str, Any]:
        return {
            "miss_rate": self.miss_rate,
            "negative_up_to": self.negative_up_to,
            "positive_from": self.positive_from,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ConformalSets:
        """The inverse of :meth:`to_dict`.

        Raises:
            PredictionsError: a missing number, or one outside 0..1.
        """
        found = {}
        for name in ("miss_rate", "negative_up_to", "positive_from"):
            value = content.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise PredictionsError(
                    f"conformal: {name} is {value!r}, expected a number in 0..1; fit it again"
                )
            found[name] = float(value)
        return cls(**found)


def fit_conformal(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, miss_rate: float
) -> ConformalSets:
    """Limits from rows that trained nothing and chose no epoch.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Of label 1, shape (n,).
        miss_rate: Between 0 and 1, e.g. 0.1.

    Raises:
        UsageError: an impossible miss rate.
        PredictionsError: one class only, fewer than ``1 / miss_rate - 1`` rows of one (no limit
            would keep the promise), or values that are not allowed.

    Example:
        >>> fit_conformal([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.3, 0.8, 0.9], miss_rate=0.25)
        ConformalSets(miss_rate=0.25, negative_up_to=0.6, positive_from=0.3)
    """
    if not 0 < miss_rate < 1:
        raise UsageError(f"miss rate {miss_rate}: expected a share between 0 and 1, e.g. 0.1")
    y = check_labels(labels)
    p = check_probabilities(probabilities, y.size)
    check_both_classes(y, "A conformal answer")
    return ConformalSets(
        miss_rate=miss_rate,
        negative_up_to=_limit(p[~y], miss_rate, "negative"),
        positive_from=-_limit(-p[y], miss_rate, "positive"),
    )


def _limit(scores: Floats, miss_rate: float, name: str) -> float:
    needed = least_rows(miss_rate)
    if scores.size < needed:
        raise PredictionsError(
            f"a conformal answer with a miss rate of {miss_rate:g} needs at least {needed} {name} "
            f"findings to calibrate on, found {scores.size}; allow a higher miss rate"
        )
    # Rounding must not lift (n + 1)(1 - miss rate) over a whole number that it is.
    rank = math.ceil((scores.size + 1) * (1 - miss_rate) - 1e-9)
    return float(np.sort(scores)[rank - 1])


def least_rows(miss_rate: float) -> int:
    """Rows of each class that a miss rate needs: ``1 / miss_rate - 1``, rounded up."""
    return max(1, math.ceil(1 / miss_rate - 1 - 1e-9))


def conformal_coverage(
    table: pd.DataFrame,
    *,
    miss_rate: float,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Coverage and sizes of the sets, each fold's from limits of other patients' rows.

    Args:
        table: Out-of-fold rows: ``fold, patient_id, label, probability``.
        miss_rate: Of :func:`fit_conformal`.
        n_bootstrap: Resamples of patients. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Of the intervals. Defaults to 0.95.

    Returns:
        JSON-ready: ``miss_rate``, ``findings``, ``coverage`` of ``negative`` and ``positive``
        (value, interval) and ``indeterminate`` (share of findings, interval).

    Raises:
        PredictionsError: one fold only, or too few rows of a class outside one.
    """
    folds = table["fold"].unique()
    if len(folds) < 2:
        raise PredictionsError(
            "the coverage of conformal answers needs predictions of two folds or more, found "
            f"{len(folds)}"
        )
    y = check_labels(table["label"])
    p = table["probability"].to_numpy(dtype=np.float64)
    negative, positive = np.zeros(y.size, dtype=bool), np.zeros(y.size, dtype=bool)
    for fold in folds:
        own = (table["fold"] == fold).to_numpy()
        # With repeats, or shared patients, other folds hold the same people again.
        others = ~table["patient_id"].isin(table.loc[own, "patient_id"].unique()).to_numpy()
        fitted = fit_conformal(y[others], p[others], miss_rate=miss_rate)
        negative[own], positive[own] = fitted.sets(p[own])
    every = np.ones(y.size, dtype=bool)
    wanted = {"negative": (negative, ~y), "positive": (positive, y)}
    shares = _shares(
        wanted | {"indeterminate": (negative & positive, every)},
        table["patient_id"].to_numpy(),
        n_bootstrap=n_bootstrap,
        seed=seed,
        level=level,
    )
    return {
        "miss_rate": miss_rate,
        "findings": int(y.size),
        "coverage": {name: shares[name] for name in wanted},
        "indeterminate": shares["indeterminate"],
    }


def _shares(
    wanted: Mapping[str, tuple[Bools, Bools]],
    patients: npt.NDArray[Any],
    *,
    n_bootstrap: int,
    seed: int,
    level: float,
) -> dict[str, dict[str, Any]]:
    """Shares of hits among rows, by name, each with an interval by patient."""
    patient, count = numbered(patients, len(patients))
    hits, rows = (
        np.stack([np.bincount(patient, part, count) for part in parts], axis=1)
        for parts in (
            [hit & among for hit, among in wanted.values()],
            [among for _, among in wanted.values()],
        )
    )
    replicates = np.empty((n_bootstrap, len(wanted)))
    with np.errstate(invalid="ignore"):
        for start, weights in cluster_weights(count, n_bootstrap, seed=seed):
            replicates[start : start + len(weights)] = (weights @ hits) / (weights @ rows)
    result = {}
    for (name, (hit, among)), column in zip(wanted.items(), replicates.T, strict=True):
        interval = percentile_interval(column, level=level, method=METHOD)
        value = float(hit[among].mean()) if among.any() else None
        result[name] = {"value": value, "interval": interval.to_dict()}
    return result
