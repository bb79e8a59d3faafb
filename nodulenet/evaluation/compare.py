"""Two models on the same rows: the difference of their AUCs, tested in pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import finite_or_none
from nodulenet.evaluation.bootstrap import METHOD, auc_replicates
from nodulenet.evaluation.interval import (
    LEVEL,
    Interval,
    normal_quantile,
    percentile_interval,
)
from nodulenet.evaluation.roc import delong
from nodulenet.evaluation.table import outer_rows

SAME = "both rank all pairs alike: the difference has no spread"


@dataclass(frozen=True, kw_only=True)
class AucDifference:
    """AUC of the first minus AUC of the second score on the same rows.

    Attributes:
        first: AUC of the first.
        second: AUC of the second.
        difference: First minus second.
        delong: Normal interval from the paired DeLong variance.
        p_value: Two-sided p of the paired DeLong test; None where it has no spread or a class
            has a single row.
        bootstrap: Percentile interval when whole patients are resampled.
    """

    first: float
    second: float
    difference: float
    delong: Interval
    p_value: float | None
    bootstrap: Interval

    def to_dict(self) -> dict[str, Any]:
        return {
            "first_auc": self.first,
            "second_auc": self.second,
            "difference": self.difference,
            "delong": self.delong.to_dict(),
            "delong_p_value": self.p_value,
            "patient_bootstrap": self.bootstrap.to_dict(),
        }


def auc_difference(
    labels: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> AucDifference:
    """Paired comparison of two scores of the same rows.

    DeLong's test takes the rows as independent; the bootstrap resamples whole patients and is
    the one to trust where patients have several findings.

    Args:
        labels: 0 or 1, shape (n,).
        first: Scores, shape (n,).
        second: Scores, shape (n,).
        patients: The patient of each row, shape (n,).
        n_bootstrap: Number of resamples. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.

    Raises:
        PredictionsError: one class only, or values that are not allowed.

    Source: DeLong E. R. et al., Biometrics 44:837-845, 1988.
    """
    scores = np.stack([np.asarray(first, np.float64), np.asarray(second, np.float64)])
    result = delong(labels, scores)
    covariance = result.covariance
    difference = float(result.aucs[0] - result.aucs[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Rounding leaves about 1e-18 of equal scores; a true variance is never so small.
    if not np.isfinite(variance) or variance < 1e-14:
        note = SAME if np.isfinite(variance) else "needs at least two rows of each class"
        interval = Interval(low=None, high=None, level=level, method="paired DeLong", note=note)
        p_value = None
    else:
        from scipy.special import ndtr

        error = float(np.sqrt(variance))
        half = normal_quantile(level) * error
        interval = Interval(
            low=max(-1.0, difference - half),
            high=min(1.0, difference + half),
            level=level,
            method="paired DeLong",
        )
        p_value = finite_or_none(2 * float(ndtr(-abs(difference) / error)))
    replicates = auc_replicates(labels, scores, patients, n_bootstrap=n_bootstrap, seed=seed)
    deltas = replicates[0] - replicates[1]
    bootstrap = percentile_interval(deltas, level=level, method=f"paired {METHOD}")
    if bootstrap.low is not None and np.nanmax(deltas) == np.nanmin(deltas):
        bootstrap = Interval(low=None, high=None, level=level, method=f"paired {METHOD}", note=SAME)
    return AucDifference(
        first=float(result.aucs[0]),
        second=float(result.aucs[1]),
        difference=difference,
        delong=interval,
        p_value=p_value,
        bootstrap=bootstrap,
    )


def compare_models(
    predictions: pd.DataFrame,
    first: str,
    second: str,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Two models of a predictions table on the outer rows that both have, JSON-ready.

    Rows are paired by ``finding_id`` and ``fold``.

    Returns:
        ``first, second, rows, rows_left_out`` and :meth:`AucDifference.to_dict`; with
        ``available`` False and ``why`` where there is nothing to compare.

    Raises:
        PredictionsError: a model is not in the table.
    """
    rows = outer_rows(predictions)
    for model in (first, second):
        if model not in set(rows["model"]):
            raise PredictionsError(
                f"comparison: model {model!r} has no outer rows; the table has "
                f"{', '.join(map(repr, sorted(rows['model'].unique())))}"
            )
    columns = ["finding_id", "fold", "patient_id", "label", "probability"]
    a = rows.loc[rows["model"] == first, columns]
    b = rows.loc[rows["model"] == second, ["finding_id", "fold", "probability"]]
    both = a.merge(b, on=["finding_id", "fold"], suffixes=("_first", "_second"))
    facts: dict[str, Any] = {
        "first": first,
        "second": second,
        "rows": len(both),
        "rows_left_out": len(a) + len(b) - 2 * len(both),
    }
    if both["label"].nunique() < 2:
        why = "the rows that both models have do not hold both classes"
        return facts | {"available": False, "why": why}
    result = auc_difference(
        both["label"],
        both["probability_first"],
        both["probability_second"],
        both["patient_id"],
        n_bootstrap=n_bootstrap,
        seed=seed,
        level=level,
    )
    return facts | {"available": True} | result.to_dict()
