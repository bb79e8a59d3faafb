"""How well one model ranks: pooled over folds, in each fold, and the mean of the folds.

The three are different numbers and are never put into one: pooled AUCs compare probabilities of
different fold models with each other, fold AUCs do not, and the spread between folds is not a
confidence interval.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from nodulenet.config.schema import EvaluateConfig
from nodulenet.evaluation.arrays import Floats
from nodulenet.evaluation.bootstrap import RANK_METRICS, auc_bootstrap, metric_intervals
from nodulenet.evaluation.calibration import brier, expected_calibration_error
from nodulenet.evaluation.precision_recall import average_precision
from nodulenet.evaluation.roc import (
    auc,
    delong,
    partial_auc,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)

ECE_BINS = 10


def pooled_metrics(rows: pd.DataFrame, settings: EvaluateConfig, seed: int) -> dict[str, Any]:
    """All outer rows of one model together, JSON-ready.

    Returns:
        ``auc`` and the other rank metrics are None, and ``note`` says why, where the rows hold one
        class only. Beside each value stands its patient-bootstrap interval.
    """
    label, probability = rows["label"].to_numpy(), rows["probability"].to_numpy()
    content: dict[str, Any] = {
        "what": "all outer rows together: those that the table gives as predicted by a model that "
        "did not see them",
        "auc": None,
        "partial_auc": None,
        "average_precision": None,
        "average_precision_interval": None,
        "prevalence": float(label.mean()),
        "brier": brier(label, probability),
        "brier_interval": None,
        "brier_of_prevalence": float(label.mean() * (1 - label.mean())),
        "ece": expected_calibration_error(label, probability, bins=ECE_BINS),
        "ece_bins": ECE_BINS,
        "sensitivity_at_specificity": None,
        "specificity_at_sensitivity": None,
    }
    why = one_class(rows)
    if why:
        return content | {"note": f"no AUC: {why}"}
    sampling: dict[str, Any] = {
        "n_bootstrap": settings.bootstraps,
        "seed": seed,
        "level": settings.level,
    }
    patients = rows["patient_id"].to_numpy()
    of_brier = metric_intervals(label, probability, patients, ("brier",), **sampling)["brier"]
    content |= {"brier_interval": of_brier.to_dict()} | rank_metrics(
        rows,
        probability,
        max_fpr=settings.max_fpr,
        specificity=settings.specificity,
        sensitivity=settings.sensitivity,
        **sampling,
    )
    if np.ptp(probability) == 0:
        content["note"] = "all probabilities are equal: the model tells nothing apart"
    return content


def rank_metrics(
    findings: pd.DataFrame,
    scores: Floats,
    *,
    n_bootstrap: int,
    seed: int,
    level: float,
    max_fpr: float = 0.1,
    specificity: float = 0.9,
    sensitivity: float = 0.9,
) -> dict[str, Any]:
    """What a score reaches as a ranking: a model's probability, the size alone or any other.

    Args:
        findings: ``label`` and ``patient_id``, both classes, n rows.
        scores: Finite, larger for positives, shape (n,).
        n_bootstrap: Resamples of the patients.
        seed: Root seed.
        level: Confidence level.
        max_fpr: Upper end of the partial AUC. Defaults to 0.1.
        specificity: At which sensitivity is stated. Defaults to 0.9.
        sensitivity: At which specificity is stated. Defaults to 0.9.

    Returns:
        ``auc`` (with ``patient_bootstrap`` and ``delong``), ``partial_auc, average_precision,
        average_precision_interval, sensitivity_at_specificity, specificity_at_sensitivity``.
    """
    label, patients = findings["label"].to_numpy(), findings["patient_id"].to_numpy()
    sampling: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed, "level": level}
    limits = metric_intervals(
        label,
        scores,
        patients,
        RANK_METRICS,
        max_fpr=max_fpr,
        specificity=specificity,
        sensitivity=sensitivity,
        **sampling,
    )
    result = delong(label, scores)
    at_specificity = sensitivity_at_specificity(label, scores, specificity=specificity)
    at_sensitivity = specificity_at_sensitivity(label, scores, sensitivity=sensitivity)

    def bootstrapped(name: str) -> dict[str, Any]:
        return {"patient_bootstrap": limits[name].to_dict()}

    return {
        "auc": {
            "value": float(result.aucs[0]),
            "patient_bootstrap": auc_bootstrap(label, scores, patients, **sampling).to_dict(),
            "delong": result.interval(level=level).to_dict(),
        },
        "partial_auc": partial_auc(label, scores, max_fpr=max_fpr).to_dict()
        | bootstrapped("partial_auc"),
        "average_precision": average_precision(label, scores),
        "average_precision_interval": limits["average_precision"].to_dict(),
        "sensitivity_at_specificity": at_specificity.to_dict(level=level)
        | bootstrapped("sensitivity_at_specificity"),
        "specificity_at_sensitivity": at_sensitivity.to_dict(level=level)
        | bootstrapped("specificity_at_sensitivity"),
    }


def fold_metrics(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Each fold of one model by itself, JSON-ready."""
    return [_fold(int(str(fold)), part) for fold, part in rows.groupby("fold", sort=True)]


def over_folds(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread of the folds' own numbers, JSON-ready."""
    content: dict[str, Any] = {
        "what": "mean of the folds' own AUCs; the spread is between folds, not a confidence "
        "interval",
    }
    for name in ("auc", "average_precision", "brier"):
        values = np.array([fold[name] for fold in folds if fold[name] is not None])
        if name == "auc":
            content["folds"] = len(folds)
            content["folds_with_auc"] = int(values.size)
        content |= {
            f"{name}_mean": float(values.mean()) if values.size else None,
            f"{name}_sd": float(values.std(ddof=1)) if values.size > 1 else None,
            f"{name}_min": float(values.min()) if values.size else None,
            f"{name}_max": float(values.max()) if values.size else None,
        }
    return content


def one_class(rows: pd.DataFrame) -> str:
    """Why there is no rank metric, or nothing where both classes are there."""
    positives = int(rows["label"].sum())
    if 0 < positives < len(rows):
        return ""
    return f"one class only ({positives} positive, {len(rows) - positives} negative rows)"


def _fold(fold: int, rows: pd.DataFrame) -> dict[str, Any]:
    why = one_class(rows)
    label, probability = rows["label"], rows["probability"]
    content: dict[str, Any] = {
        "fold": fold,
        "rows": len(rows),
        "patients": int(rows["patient_id"].nunique()),
        "positives": int(label.sum()),
        "auc": None if why else auc(label, probability),
        "average_precision": None if why else average_precision(label, probability),
        "brier": brier(label, probability),
    }
    return content | ({"note": f"no AUC: {why}"} if why else {})
