"""All numbers of a table of predictions in one dictionary that JSON can hold.

Only outer rows are evaluated. Inner rows choose thresholds, and nothing else.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import finite_or_none
from nodulenet.evaluation.bootstrap import auc_bootstrap
from nodulenet.evaluation.calibration import (
    brier,
    calibration_fit,
    expected_calibration_error,
    reliability_bins,
)
from nodulenet.evaluation.compare import compare_models
from nodulenet.evaluation.confusion import Confusion, confusion
from nodulenet.evaluation.froc import evaluate_froc
from nodulenet.evaluation.froc_tables import FrocReference
from nodulenet.evaluation.interval import LEVEL
from nodulenet.evaluation.operating import Kind, operating_point
from nodulenet.evaluation.roc import auc, average_precision, delong, sensitivity_at_specificity
from nodulenet.evaluation.size_only import size_only
from nodulenet.evaluation.table import outer_rows, read_predictions

SCHEMA = "nodulenet.metrics/1"
FIXED_SPECIFICITY = 0.9
ECE_BINS = 10
FIXED_THRESHOLD = 0.5
_CHOSEN: tuple[tuple[Kind, float | None], ...] = (("youden", None), ("sensitivity", 0.95))
_FROC_COLUMNS = ("scan_id", "x_lps_mm", "y_lps_mm", "z_lps_mm")


def summarize(
    predictions: str | os.PathLike[str] | pd.DataFrame,
    *,
    froc: FrocReference | None = None,
    seed: int = 0,
    n_bootstrap: int = 2000,
    reference_column: str = "diameter_mm",
    level: float = LEVEL,
) -> dict[str, Any]:
    """Every metric of every model, the size-only row and the paired comparisons.

    Args:
        predictions: A predictions table or the path of its CSV; see
            :func:`nodulenet.evaluation.table.read_predictions`.
        froc: Annotations, excluded findings and series; with it each model gets a FROC, which
            needs the columns ``scan_id, x_lps_mm, y_lps_mm, z_lps_mm``. Defaults to None.
        seed: Root seed of all bootstraps. Defaults to 0.
        n_bootstrap: Resamples of the patients (AUC) and at most 1000 of the scans (FROC).
            Defaults to 2000.
        reference_column: The column of the size-only row. Defaults to ``"diameter_mm"``.
        level: Confidence level. Defaults to 0.95.

    Returns:
        A dictionary of finite numbers, strings, lists and None: ``schema, data, settings,
        models, size_only, comparisons, notes``. Of each model: ``rows, pooled`` (all outer rows
        together), ``folds`` (each fold by itself) and ``over_folds`` (mean and spread of those),
        ``calibration, operating_points, froc``.

    Raises:
        PredictionsError: the table is wrong or has no outer rows.
    """
    table = read_predictions(predictions)
    rows = outer_rows(table)
    models = list(dict.fromkeys(rows["model"]))
    bootstrap: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed, "level": level}
    return {
        "schema": SCHEMA,
        "data": _facts(table, rows),
        "settings": bootstrap
        | {"positive_when": "probability >= threshold", "unit_of_bootstrap": "patient"},
        "models": {
            model: _model(table[table["model"] == model], froc=froc, **bootstrap)
            for model in models
        },
        "size_only": size_only(rows, column=reference_column, **bootstrap),
        "comparisons": [
            compare_models(table, first, second, **bootstrap)
            for first, second in itertools.combinations(models, 2)
        ],
        "notes": _notes(table, rows),
    }


def _facts(table: pd.DataFrame, rows: pd.DataFrame) -> dict[str, Any]:
    findings = rows.drop_duplicates("finding_id")
    return {
        "source": table.attrs["source"],
        "outer_rows": len(rows),
        "inner_rows": len(table) - len(rows),
        "findings": len(findings),
        "patients": int(findings["patient_id"].nunique()),
        "positives": int(findings["label"].sum()),
        "negatives": int((findings["label"] == 0).sum()),
        "folds": sorted(int(fold) for fold in rows["fold"].unique()),
    }


def _notes(table: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    notes = [str(note) for note in table.attrs["notes"]]
    twice = int(rows.duplicated(["finding_id", "model"]).sum())
    if twice:
        notes.append(
            f"{twice} outer rows repeat a finding of the same model in another fold; in the "
            "pooled numbers such findings count more than once (bootstraps draw whole patients), "
            "in the FROC with the mean of their probabilities"
        )
    crossing = rows.groupby("patient_id")["fold"].nunique()
    crossing = crossing[crossing > 1]
    if len(crossing) and not twice:
        notes.append(
            f"{len(crossing)} patients have findings in more than one fold; where training did "
            "not leave them out, all numbers here are too good"
        )
    return notes


def _model(
    table: pd.DataFrame, *, froc: FrocReference | None, n_bootstrap: int, seed: int, level: float
) -> dict[str, Any]:
    rows = table[table["split"] == "outer"]
    folds = [_fold(int(str(fold)), part) for fold, part in rows.groupby("fold", sort=True)]
    return {
        "rows": len(rows),
        "patients": int(rows["patient_id"].nunique()),
        "positives": int(rows["label"].sum()),
        "negatives": int((rows["label"] == 0).sum()),
        "pooled": _pooled(rows, n_bootstrap=n_bootstrap, seed=seed, level=level),
        "folds": folds,
        "over_folds": _over_folds(folds),
        "calibration": _calibration(rows, level),
        "operating_points": _operating_points(table, rows, level),
        "froc": _froc(_once_a_finding(rows), froc, min(n_bootstrap, 1000), seed, level),
    }


def _once_a_finding(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a finding: repeated predictions are averaged."""
    if not rows["finding_id"].duplicated().any():
        return rows
    mean = rows.groupby("finding_id")["probability"].transform("mean")
    return rows.assign(probability=mean).drop_duplicates("finding_id")


def _one_class(rows: pd.DataFrame) -> str:
    positives = int(rows["label"].sum())
    if 0 < positives < len(rows):
        return ""
    return f"one class only ({positives} positive, {len(rows) - positives} negative rows)"


def _pooled(rows: pd.DataFrame, *, n_bootstrap: int, seed: int, level: float) -> dict[str, Any]:
    label, probability = rows["label"].to_numpy(), rows["probability"].to_numpy()
    why = _one_class(rows)
    content: dict[str, Any] = {
        "what": "all outer rows together, each predicted by a model that never saw its patient",
        "auc": None,
        "average_precision": None,
        "prevalence": float(label.mean()),
        "brier": brier(label, probability),
        "brier_of_prevalence": float(label.mean() * (1 - label.mean())),
        "ece": expected_calibration_error(label, probability, bins=ECE_BINS),
        "ece_bins": ECE_BINS,
        "sensitivity_at_specificity": None,
    }
    if why:
        return content | {"note": f"no AUC: {why}"}
    result = delong(label, probability)
    patients = rows["patient_id"].to_numpy()
    content["auc"] = {
        "value": float(result.aucs[0]),
        "patient_bootstrap": auc_bootstrap(
            label, probability, patients, n_bootstrap=n_bootstrap, seed=seed, level=level
        ).to_dict(),
        "delong": result.interval(level=level).to_dict(),
    }
    content["average_precision"] = average_precision(label, probability)
    content["sensitivity_at_specificity"] = sensitivity_at_specificity(
        label, probability, specificity=FIXED_SPECIFICITY
    ).to_dict()
    if np.ptp(probability) == 0:
        content["note"] = "all probabilities are equal: the model tells nothing apart"
    return content


def _fold(fold: int, rows: pd.DataFrame) -> dict[str, Any]:
    why = _one_class(rows)
    content: dict[str, Any] = {
        "fold": fold,
        "rows": len(rows),
        "patients": int(rows["patient_id"].nunique()),
        "positives": int(rows["label"].sum()),
        "auc": None if why else auc(rows["label"], rows["probability"]),
    }
    return content | ({"note": f"no AUC: {why}"} if why else {})


def _over_folds(folds: list[dict[str, Any]]) -> dict[str, Any]:
    values = np.array([fold["auc"] for fold in folds if fold["auc"] is not None])
    return {
        "what": "mean of the folds' own AUCs; the spread is between folds, not a confidence "
        "interval",
        "folds_with_auc": int(values.size),
        "auc_mean": float(values.mean()) if values.size else None,
        "auc_sd": float(values.std(ddof=1)) if values.size > 1 else None,
        "auc_min": float(values.min()) if values.size else None,
        "auc_max": float(values.max()) if values.size else None,
    }


def _calibration(rows: pd.DataFrame, level: float) -> dict[str, Any]:
    label, probability = rows["label"], rows["probability"]
    fit = calibration_fit(label, probability, level=level).to_dict()
    bins = reliability_bins(label, probability, bins=ECE_BINS, level=level)
    return fit | {"bins": [row.to_dict() for row in bins]}


def _operating_points(
    table: pd.DataFrame, rows: pd.DataFrame, level: float
) -> list[dict[str, Any]]:
    """Thresholds from the inner rows of each fold, counted on its outer rows; and 0.5."""
    inner = table[table["split"] == "inner"]
    points = []
    for kind, target in _CHOSEN:
        chosen = _chosen_on_inner(inner, rows, kind, target)
        if chosen is None:
            continue
        counts, thresholds, folds_left_out = chosen
        points.append(
            {
                "name": "Youden" if target is None else f"{kind} >= {target:g}",
                "kind": kind,
                "target": target,
                "chosen_on": "inner rows of each fold",
                "thresholds": thresholds,
                "folds_left_out": folds_left_out,
            }
            | counts.to_dict(level=level)
        )
    fixed = confusion(rows["label"], rows["probability"], FIXED_THRESHOLD)
    points.append(
        {
            "name": f"{FIXED_THRESHOLD:g}",
            "kind": "fixed",
            "target": None,
            "chosen_on": "fixed beforehand",
            "thresholds": {"all": FIXED_THRESHOLD},
            "folds_left_out": [],
        }
        | fixed.to_dict(level=level)
    )
    return points


def _chosen_on_inner(
    inner: pd.DataFrame, rows: pd.DataFrame, kind: Kind, target: float | None
) -> tuple[Confusion, dict[str, float], list[int]] | None:
    """Counts summed over folds, the threshold of each fold, and the folds without one."""
    counts: Confusion | None = None
    thresholds: dict[str, float] = {}
    left_out: list[int] = []
    for key, part in rows.groupby("fold", sort=True):
        fold = int(str(key))
        own = inner[inner["fold"] == fold]
        if own["label"].nunique() < 2:
            left_out.append(fold)
            continue
        point = operating_point(own["label"], own["probability"], kind=kind, target=target)
        here = confusion(part["label"], part["probability"], point.threshold)
        thresholds[str(fold)] = point.threshold
        counts = here if counts is None else counts + here
    return None if counts is None else (counts, thresholds, left_out)


def _froc(
    rows: pd.DataFrame, reference: FrocReference | None, n_bootstrap: int, seed: int, level: float
) -> dict[str, Any] | None:
    if reference is None:
        return None
    missing = [column for column in _FROC_COLUMNS if column not in rows.columns]
    if missing:
        why = f"the predictions lack {', '.join(missing)}"
        return {"available": False, "why": why}
    try:
        result = evaluate_froc(rows, reference, n_bootstrap=n_bootstrap, seed=seed, level=level)
    except PredictionsError as error:
        return {"available": False, "why": str(error)}
    content = result.to_dict(curve=True)
    content["cpm"] = finite_or_none(content["cpm"])
    return {"available": True} | content
