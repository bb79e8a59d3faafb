"""Recalibration: fitted on the inner rows of each fold, measured on its outer rows.

A calibration that is measured on the rows it was fitted on flatters. So every fold has its own,
from rows that its outer rows have nothing to do with, and before and after are measured on the
same outer rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import Floats
from nodulenet.evaluation.bootstrap import METHOD, cluster_weights
from nodulenet.evaluation.calibration import BINS, calibration_measures
from nodulenet.evaluation.calibrators import Calibration, Method, fit_calibration
from nodulenet.evaluation.interval import LEVEL, Interval, percentile_interval
from nodulenet.evaluation.table import outer_rows

METHODS: tuple[Method, ...] = ("platt", "temperature", "isotonic")
FITTED_ON = "inner rows of each fold"
_COLUMNS = ("patient_id", "fold", "split", "label", "probability")


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """Calibration of one model before and after, on the same outer rows.

    Attributes:
        available: Whether anything could be fitted.
        why: Why not, or which folds are left out and why; empty where there is nothing to say.
        rows: Outer rows that before and after are measured on.
        folds_left_out: Folds without inner rows of both classes; in neither before nor after.
        before: :func:`nodulenet.evaluation.calibration.calibration_measures` of the
            probabilities as they are; None where nothing is available.
        after: Method -> the same measures with ``available: True``, ``brier_difference`` (after
            minus before, with its patient-bootstrap interval) and ``notes``; or ``available:
            False`` and ``why``.
        fits: Method -> fold -> the calibration.
        original: Probabilities before, of the rows that are measured, indexed like the table.
        probabilities: Method -> probabilities after, indexed alike.
        notes: What else to know, e.g. patients that a fold has on both sides.
    """

    available: bool
    why: str
    rows: int
    folds_left_out: tuple[int, ...]
    before: dict[str, Any] | None
    after: dict[str, dict[str, Any]]
    fits: dict[str, dict[int, Calibration]]
    original: pd.Series[float]
    probabilities: dict[str, pd.Series[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; without the probabilities."""
        return {
            "fitted_on": FITTED_ON,
            "available": self.available,
            "why": self.why,
            "rows": self.rows,
            "folds_left_out": list(self.folds_left_out),
            "before": self.before,
            "after": self.after,
            "fits": {
                method: {str(fold): fit.to_dict() for fold, fit in folds.items()}
                for method, folds in self.fits.items()
            },
            "notes": list(self.notes),
        }


def recalibrate(
    table: pd.DataFrame,
    *,
    methods: Sequence[Method] = METHODS,
    bins: int = BINS,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> Recalibration:
    """Fits calibrations on the inner rows of each fold and measures them on its outer rows.

    A method that cannot be fitted in one of the folds is not available as a whole, so that all
    methods are measured on the same rows.

    Args:
        table: Inner and outer rows of one model: ``patient_id, fold, split, label,
            probability``, as of :func:`nodulenet.evaluation.table.read_predictions`.
        methods: Of ``"platt"``, ``"temperature"``, ``"isotonic"``. Defaults to all three.
        bins: Number of bins of the measures. Defaults to 10.
        n_bootstrap: Resamples of patients for the interval of the difference in Brier score.
            Defaults to 2000.
        seed: Root seed of the bootstrap. Defaults to 0.
        level: Confidence level. Defaults to 0.95.

    Returns:
        Before, after and the fits. Without usable inner rows ``available`` is False and ``why``
        says so; that is no error.

    Raises:
        PredictionsError: a column is missing, there are no outer rows, or there are several
            models.
        UsageError: an unknown method.

    Source: Guo C. et al., ICML 2017, arXiv:1706.04599 (calibrations on a part of their own);
    Van Calster B. et al., BMC Medicine 17:230, 2019 (what to measure).

    Example:
        >>> rows = pd.DataFrame({
        ...     "patient_id": list("abcdefgh"), "fold": 0, "split": ["inner"] * 4 + ["outer"] * 4,
        ...     "label": [0, 1, 0, 1] * 2, "probability": [0.6, 0.7, 0.8, 0.9] * 2,
        ... })
        >>> result = recalibrate(rows, methods=["platt"])
        >>> result.after["platt"]["brier"] < result.before["brier"]
        True
    """
    _check(table)
    outer = outer_rows(table)
    inner = table[table["split"] == "inner"]
    methods = list(dict.fromkeys(methods))
    own = {int(str(fold)): part for fold, part in inner.groupby("fold", sort=True)}
    folds = sorted(int(fold) for fold in outer["fold"].unique())
    usable = [fold for fold in folds if fold in own and own[fold]["label"].nunique() == 2]
    left_out = tuple(fold for fold in folds if fold not in usable)
    if not usable or not methods:
        why = _why_nothing(inner, bool(methods))
        return Recalibration(
            available=False,
            why=why,
            rows=0,
            folds_left_out=left_out,
            before=None,
            after={method: {"available": False, "why": why} for method in methods},
            fits={},
            original=outer["probability"].iloc[:0],
        )

    rows = outer[outer["fold"].isin(usable)]
    labels = rows["label"].to_numpy()
    original = rows["probability"].to_numpy(dtype=np.float64)
    patients = rows["patient_id"].to_numpy()
    at = rows["fold"].to_numpy()
    after: dict[str, dict[str, Any]] = {}
    fits: dict[str, dict[int, Calibration]] = {}
    probabilities: dict[str, pd.Series[float]] = {}
    for method in methods:
        fitted, why = _fit_folds(method, {fold: own[fold] for fold in usable})
        if why:
            after[method] = {"available": False, "why": why}
            continue
        changed = np.empty_like(original)
        for fold, fit in fitted.items():
            changed[at == fold] = fit.apply(original[at == fold])
        gain = (changed - labels) ** 2 - (original - labels) ** 2
        interval = _mean_interval(gain, patients, n_bootstrap=n_bootstrap, seed=seed, level=level)
        after[method] = {
            "available": True,
            **calibration_measures(labels, changed, patients=patients, bins=bins, level=level),
            "brier_difference": {"value": float(gain.mean()), "interval": interval.to_dict()},
            "notes": _notes_on(fitted),
        }
        fits[method] = fitted
        probabilities[method] = pd.Series(changed, index=rows.index, name="probability")
    return Recalibration(
        available=bool(fits),
        why=_why(left_out, after, bool(fits)),
        rows=len(rows),
        folds_left_out=left_out,
        before=calibration_measures(labels, original, patients=patients, bins=bins, level=level),
        after=after,
        fits=fits,
        original=rows["probability"],
        probabilities=probabilities,
        notes=tuple(_shared_patients(own, rows)),
    )


def _check(table: pd.DataFrame) -> None:
    missing = [column for column in _COLUMNS if column not in table.columns]
    if missing:
        raise PredictionsError(
            f"recalibration: column {missing[0]!r} is missing (found: "
            f"{', '.join(map(str, table.columns)) or 'none'}); read the table with "
            "read_predictions first"
        )
    if "model" in table.columns and table["model"].nunique() > 1:
        raise PredictionsError(
            f"recalibration: rows of {table['model'].nunique()} models; expected one: take the "
            "rows of each model by themselves"
        )


def _why_nothing(inner: pd.DataFrame, methods: bool) -> str:
    if not methods:
        return "no calibration was asked for"
    if inner.empty:
        return "there are no inner rows to fit a calibration on"
    return "no fold has both outer rows and inner rows of both classes to fit a calibration on"


def _why(left_out: tuple[int, ...], after: dict[str, dict[str, Any]], available: bool) -> str:
    if not available:
        return "; ".join(f"{method}: {result['why']}" for method, result in after.items())
    if not left_out:
        return ""
    which = ", ".join(map(str, left_out))
    return (
        f"fold{'s' if len(left_out) > 1 else ''} {which} left out of before and after: no inner "
        "rows of both classes"
    )


def _fit_folds(
    method: Method, inner: dict[int, pd.DataFrame]
) -> tuple[dict[int, Calibration], str]:
    """The fit of each fold, or why one of them has none."""
    fits: dict[int, Calibration] = {}
    for fold, rows in inner.items():
        try:
            fits[fold] = fit_calibration(method, rows["label"], rows["probability"])
        except PredictionsError as error:
            return {}, f"fold {fold}: {error}"
    return fits, ""


def _notes_on(fits: dict[int, Calibration]) -> list[str]:
    falling = [str(fold) for fold, fit in fits.items() if not fit.rising]
    if not falling:
        return []
    return [
        f"fold{'s' if len(falling) > 1 else ''} {', '.join(falling)}: the calibration does not "
        "rise with the probability, for on the inner rows the model does not rank better than "
        "chance"
    ]


def _shared_patients(inner: dict[int, pd.DataFrame], outer: pd.DataFrame) -> list[str]:
    notes = []
    for fold, rows in outer.groupby("fold", sort=True):
        own = inner[int(str(fold))]
        both = set(own["patient_id"]) & set(rows["patient_id"])
        if both:
            notes.append(
                f"fold {fold}: {len(both)} patients have inner and outer rows; the calibration "
                "knew them, so that after looks better than it is"
            )
    return notes


def _mean_interval(
    values: Floats, patients: np.ndarray[Any, Any], *, n_bootstrap: int, seed: int, level: float
) -> Interval:
    """Percentile interval of the mean of ``values`` (n,) when whole patients are resampled.

    The calibrations stay as they are in all resamples.
    """
    known, patient = np.unique(patients, return_inverse=True)
    if known.size < 2 or n_bootstrap < 1:
        note = "one patient only" if known.size < 2 else "no resamples were asked for"
        return Interval(low=None, high=None, level=level, method=METHOD, note=note)
    sums = np.bincount(patient, weights=values)
    counts = np.bincount(patient).astype(np.float64)
    replicates = np.empty(n_bootstrap)
    for start, weights in cluster_weights(known.size, n_bootstrap, seed=seed):
        replicates[start : start + len(weights)] = (weights @ sums) / (weights @ counts)
    return percentile_interval(replicates, level=level, method=METHOD)
