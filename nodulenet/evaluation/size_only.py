"""The size-only row: how far the diameter alone gets, beside every model.

On nodule data size explains most of what a model can reach, so no figure stands without it. It
gets the figures that a model gets, those of folds in the folds of one model. The diameter is no
probability; to ask what its Brier score and calibration would be, it is made into one by a
logistic regression fitted on inner rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.config.schema import OperatingPointConfig
from nodulenet.evaluation.bootstrap import metric_intervals
from nodulenet.evaluation.calibration import brier, calibration_measures
from nodulenet.evaluation.compare import add_holm, auc_difference
from nodulenet.evaluation.discrimination import over_folds, rank_metrics
from nodulenet.evaluation.interval import LEVEL
from nodulenet.evaluation.logistic import fit_logistic, sigmoid
from nodulenet.evaluation.precision_recall import average_precision
from nodulenet.evaluation.repeats import repeated, withhold
from nodulenet.evaluation.roc import auc
from nodulenet.evaluation.size_matched import CALIPER, size_matched_row
from nodulenet.evaluation.sizes import (
    check_size_column,
    known_counts,
    known_sizes,
    why_misleading,
    with_sizes,
)
from nodulenet.evaluation.thresholds import table_operating_points

YOUDEN = (OperatingPointConfig(kind="youden"),)


def size_only(
    rows: pd.DataFrame,
    *,
    inner: pd.DataFrame | None = None,
    column: str = "diameter_mm",
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
    max_fpr: float = 0.1,
    specificity: float = 0.9,
    sensitivity: float = 0.9,
    operating_points: Sequence[OperatingPointConfig] = YOUDEN,
    prevalences: Sequence[float] = (),
    caliper: float = CALIPER,
) -> dict[str, Any]:
    """The metrics of one column taken as the score, and the models beside it on the same rows.

    Args:
        rows: Outer rows of a validated predictions table, with one or several models.
        inner: Its inner rows. The thresholds and the logistic regression of each fold are fitted
            on them. Defaults to none.
        column: The column; empty, zero and negative values count as unknown, and the first known
            size of a finding stands in for them. Defaults to ``"diameter_mm"``.
        n_bootstrap: Resamples of the patients. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.
        max_fpr: Upper end of the partial AUC. Defaults to 0.1.
        specificity: At which sensitivity is stated. Defaults to 0.9.
        sensitivity: At which specificity is stated. Defaults to 0.9.
        operating_points: Thresholds to choose. Defaults to Youden's.
        prevalences: At which PPV and NPV are stated too. Defaults to none.
        caliper: Of the size-matched AUC, which comes near 0.5 as it comes near 1. Defaults to 1.25.

    Returns:
        JSON-ready: the counts, the rank metrics of :func:`rank_metrics`, ``size_matched_auc``,
        ``folds`` and ``over_folds`` (each fold by itself and their spread), ``operating_points``,
        ``calibration`` (Brier score with interval and all measures of the logistic regression's
        probabilities, or why there are none) and ``comparisons`` (each model minus the size, with
        Holm's correction over the models).
        ``available`` False and ``why`` where the row would mislead: no such column, or the size
        known for less than half of a class (a LUNA16 candidate has a diameter only where it is a
        nodule, so that its presence gives the label away). What needs folds is taken from the
        first model that has every finding with a size; where models have different folds ``folds``
        and ``operating_points`` are empty and ``over_folds`` and ``calibration`` say ``why``.

    Raises:
        UsageError: the column is one of the table's keys.

    Source of the logistic regression: one term, ln of the size; Cox D. R., J. R. Stat. Soc. B
    20:215-242, 1958.

    Example:
        >>> table = pd.DataFrame(
        ...     {"finding_id": list("abcd"), "patient_id": list("abcd"), "fold": 0, "model": "m",
        ...      "label": [0, 0, 1, 1], "probability": 0.5, "diameter_mm": [4.0, 7.0, 6.0, 12.0]})
        >>> size_only(table, n_bootstrap=100)["auc"]["value"]
        0.75
    """
    check_size_column(column)
    if column not in rows.columns:
        return {"available": False, "column": column, "why": f"there is no column {column!r}"}
    rows = with_sizes(rows, column)
    findings = rows.drop_duplicates("finding_id")
    known = known_sizes(findings, column)
    facts = {"available": True, "column": column} | known_counts(findings, known)
    why = why_misleading(findings, known, column)
    if why:
        return facts | {"available": False, "why": why}

    measured = findings[known]
    sampling: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed, "level": level}
    targets: dict[str, Any] = {
        "max_fpr": max_fpr,
        "specificity": specificity,
        "sensitivity": sensitivity,
    }
    outer, fitted_on, why = _folds_of_one(
        _measured(rows, column), _measured_inner(inner, rows, column)
    )
    folds: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    if why:
        calibration: dict[str, Any] = {"available": False, "why": why}
    else:
        calibration, probability = _as_probability(outer, fitted_on, column, sampling)
        folds = _per_fold(outer, column, probability)
        points = [
            point.to_dict(level=level, prevalences=prevalences)
            for point in table_operating_points(fitted_on, outer, operating_points, score=column)
        ]
        if repeated(outer):
            calibration, points = withhold(calibration), withhold(points)
    return (
        facts
        | {"patients": int(measured["patient_id"].nunique())}
        | rank_metrics(measured, measured[column].to_numpy(np.float64), **sampling, **targets)
        | {
            "size_matched_auc": size_matched_row(
                measured, column, "", score=column, caliper=caliper, **sampling
            ),
            "folds": folds,
            "over_folds": over_folds(folds) | ({"why": why} if why else {}),
            "operating_points": points,
            "calibration": calibration,
            "comparisons": comparisons(rows, column, sampling),
        }
    )


def comparisons(rows: pd.DataFrame, column: str, sampling: dict[str, Any]) -> list[dict[str, Any]]:
    """Each model minus the column, on the rows of the model where the column is known.

    P values are corrected over the models by Holm's method.
    """
    compared = [
        _against(str(model), part, column, sampling)
        for model, part in rows.groupby("model", sort=False)
    ]
    add_holm(compared)
    return compared


def _measured(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    return rows[known_sizes(rows, column)]


def _measured_inner(inner: pd.DataFrame | None, rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Inner rows with a size, of the models that have outer rows."""
    if inner is None or column not in inner.columns:
        return pd.DataFrame({"finding_id": [], "model": [], "fold": [], "label": [], column: []})
    return _measured(with_sizes(inner[inner["model"].isin(rows["model"])], column), column)


def _folds_of_one(
    outer: pd.DataFrame, inner: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Outer and inner rows of the model whose folds are taken, or why there is none.

    Folds of different models must not be mixed: a finding that one of them has outside in fold 0
    may be inside in fold 0 of the other.
    """
    if not (_same_folds(outer) and _same_folds(inner)):
        return outer, inner, "models have different folds"
    findings = outer.groupby("model", sort=False)["finding_id"].nunique()
    whole = findings.index[findings == outer["finding_id"].nunique()]
    if not len(whole):
        return outer, inner, "no model has every finding with a size"
    fitted = set(inner["model"])
    model = next((name for name in whole if name in fitted), whole[0])
    own = outer[outer["model"] == model].reset_index(drop=True)
    return own, inner[inner["model"] == model], ""


def _same_folds(rows: pd.DataFrame) -> bool:
    """Whether all models that have a finding have it in the same folds."""
    once = rows[["finding_id", "fold", "model"]].drop_duplicates()
    models = once.groupby("finding_id")["model"].transform("nunique")
    in_fold = once.groupby(["finding_id", "fold"])["model"].transform("size")
    return bool((models == in_fold).all())


def _as_probability(
    outer: pd.DataFrame, inner: pd.DataFrame, column: str, sampling: dict[str, Any]
) -> tuple[dict[str, Any], pd.Series[Any]]:
    """Brier score and calibration of the size, and its probability (NaN in folds left out)."""
    fits: dict[str, dict[str, Any]] = {}
    left_out: list[int] = []
    probability = pd.Series(np.nan, index=outer.index, dtype=np.float64)
    for key, part in outer.groupby("fold", sort=True):
        own = inner[inner["fold"] == key]
        fit = None
        if own["label"].nunique() > 1:
            logs = np.log(own[column].to_numpy(np.float64))
            design = np.stack([logs, np.ones(len(own))])
            fit = fit_logistic(design, own["label"].to_numpy(np.float64))
        if fit is None:
            left_out.append(int(str(key)))
            continue
        slope, intercept = (float(value) for value in fit.coefficients)
        fits[str(key)] = {"slope": slope, "intercept": intercept, "rows": len(own)}
        sizes = part[column].to_numpy(np.float64)
        probability[part.index] = sigmoid(slope * np.log(sizes) + intercept)
    content: dict[str, Any] = {
        "what": f"logistic regression of the label on ln {column}, fitted on the inner rows of "
        "each fold and applied to its outer rows",
        "fits": fits,
        "folds_left_out": left_out,
    }
    if not fits:
        why = (
            f"there are no inner rows with a {column}"
            if inner.empty
            else "no fold has inner rows to fit it on: both classes, with sizes that overlap"
        )
        return {"available": False, "why": why} | content, probability
    used = outer[probability.notna()]
    label, values = used["label"].to_numpy(), probability[used.index].to_numpy()
    patients = used["patient_id"].to_numpy()
    interval = metric_intervals(label, values, patients, ("brier",), **sampling)["brier"]
    measures = calibration_measures(label, values, patients=patients, level=sampling["level"])
    return (
        {"available": True} | content | measures | {"brier_interval": interval.to_dict()},
        probability,
    )


def _per_fold(
    measured: pd.DataFrame, column: str, probability: pd.Series[Any]
) -> list[dict[str, Any]]:
    folds = []
    for fold, part in measured.groupby("fold", sort=True):
        both = part["label"].nunique() > 1
        own = probability[part.index]
        content: dict[str, Any] = {
            "fold": int(str(fold)),
            "rows": len(part),
            "patients": int(part["patient_id"].nunique()),
            "positives": int(part["label"].sum()),
            "auc": auc(part["label"], part[column]) if both else None,
            "average_precision": average_precision(part["label"], part[column]) if both else None,
            "brier": brier(part["label"], own) if own.notna().all() else None,
        }
        folds.append(content if both else content | {"note": "no AUC: one class only"})
    return folds


def _against(
    model: str, rows: pd.DataFrame, column: str, sampling: dict[str, Any]
) -> dict[str, Any]:
    part = _measured(rows, column)
    facts = {"first": model, "second": column, "rows": len(part)}
    if part["label"].nunique() < 2:
        why = "the rows with a size do not hold both classes"
        return facts | {"available": False, "why": why}
    result = auc_difference(
        part["label"], part["probability"], part[column], part["patient_id"], **sampling
    )
    return facts | {"available": True} | result.to_dict()
