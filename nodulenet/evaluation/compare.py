"""Models on the same rows: differences of AUCs, and of calls, tested in pairs.

Three tests stand beside each other. The patient bootstrap resamples whole patients and is the
one to trust where patients have several findings; DeLong's test (of AUCs) and McNemar's (of calls
at an operating point) are what papers quote, and take findings as independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.arrays import Floats, finite_or_none
from nodulenet.evaluation.bootstrap import auc_replicates
from nodulenet.evaluation.calls import MEASURES, PAIRED, check_calls, compared_calls
from nodulenet.evaluation.interval import (
    LEVEL,
    Interval,
    normal_quantile,
    percentile_interval,
)
from nodulenet.evaluation.multiplicity import holm
from nodulenet.evaluation.repeats import repeated, withhold
from nodulenet.evaluation.roc import DelongResult, delong
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
        bootstrap_p_value: Two-sided p of the same resamples; None where they have no spread.
    """

    first: float
    second: float
    difference: float
    delong: Interval
    p_value: float | None
    bootstrap: Interval
    bootstrap_p_value: float | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "first_auc": self.first,
            "second_auc": self.second,
            "difference": self.difference,
            "delong": self.delong.to_dict(),
            "delong_p_value": self.p_value,
            "patient_bootstrap": self.bootstrap.to_dict(),
            "bootstrap_p_value": self.bootstrap_p_value,
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
    the one to trust where patients have several findings. Its p value is twice the share of
    resamples on the rarer side of zero, one added above and below, so it is never 0.

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

    Source: DeLong E. R. et al., Biometrics 44:837-845, 1988; Davison A. C., Hinkley D. V.,
    Bootstrap Methods and their Application, 1997, chapter 4 (the p value).
    """
    scores = np.stack([np.asarray(first, np.float64), np.asarray(second, np.float64)])
    result = delong(labels, scores)
    replicates = auc_replicates(labels, scores, patients, n_bootstrap=n_bootstrap, seed=seed)
    return difference_of(result, replicates, 0, 1, level)


def difference_of(
    result: DelongResult, replicates: Floats, first: int, second: int, level: float
) -> AucDifference:
    """The difference of two of several scores whose AUCs and replicates are there already.

    Args:
        result: DeLong's AUCs and covariance of k scores.
        replicates: Of :func:`nodulenet.evaluation.bootstrap.auc_replicates`, shape (k, n).
        first: Row of the first score.
        second: Row of the second score.
        level: Confidence level.
    """
    covariance = result.covariance
    difference = float(result.aucs[first] - result.aucs[second])
    variance = float(
        covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
    )
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
    deltas = replicates[first] - replicates[second]
    bootstrap = percentile_interval(deltas, level=level, method=PAIRED)
    return AucDifference(
        first=float(result.aucs[first]),
        second=float(result.aucs[second]),
        difference=difference,
        delong=interval,
        p_value=p_value,
        bootstrap=bootstrap,
        bootstrap_p_value=None if bootstrap.low is None else two_sided_p(deltas),
    )


def non_inferiority(interval: Interval, margin: float) -> dict[str, Any]:
    """Whether the first is not worse than the second by ``margin`` or more.

    Args:
        interval: Two-sided interval of the difference first minus second; at 95 % its lower
            limit is that of a one-sided test at 97.5 %.
        margin: The loss that would still be accepted, above 0; to be stated before the data are
            looked at.

    Returns:
        ``margin, lower_limit, non_inferior, level_one_sided``; ``non_inferior`` is None, with
        ``why``, where the interval has no limits.

    Raises:
        UsageError: a margin that is not above 0 and below 1.

    Source: Piaggio G. et al. (CONSORT), JAMA 308:2594-2604, 2012.
    """
    if not 0 < margin < 1:
        raise UsageError(
            f"non-inferiority margin {margin}: expected a difference above 0 and below 1, e.g. 0.05"
        )
    content: dict[str, Any] = {
        "margin": float(margin),
        "lower_limit": interval.low,
        "non_inferior": None if interval.low is None else bool(interval.low > -margin),
        "level_one_sided": 0.5 + interval.level / 2,
    }
    if interval.low is None:
        content["why"] = interval.note or "the difference has no interval"
    return content


def reference_for(
    models: Sequence[str], reference: str | None, margin: float | None
) -> tuple[str | None, str]:
    """The model that others are compared with, and what to say where it had to be chosen.

    "Not worse than which" has to have an answer, so a margin without a reference takes the first.

    Args:
        models: In the order given.
        reference: What was asked for; None for every pair.
        margin: Non-inferiority margin, or None.
    """
    if margin is None or reference is not None or len(models) < 2:
        return reference, ""
    return models[0], f"a margin needs a reference: {models[0]!r}, given first, was taken"


def compare_models(
    predictions: pd.DataFrame,
    first: str,
    second: str,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
    margin: float | None = None,
    calls: Mapping[str, pd.Series[bool]] | None = None,
    operating_point: str | None = None,
) -> dict[str, Any]:
    """Two models of a predictions table on the outer rows that both have, JSON-ready.

    Rows are paired by ``finding_id`` and ``fold``.

    Args:
        predictions: Of :func:`nodulenet.evaluation.table.read_predictions`.
        first: A model of the table.
        second: Another one.
        n_bootstrap: Number of resamples. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.
        margin: Non-inferiority margin of the AUC. Defaults to None.
        calls: Model -> whether its outer rows are called positive, indexed like them; rows
            without a call are left out of what is said of calls. Defaults to None.
        operating_point: What the operating point of ``calls`` is called. Defaults to None.

    Returns:
        ``first, second, rows, rows_left_out, patients`` and :meth:`AucDifference.to_dict`; with
        ``available`` False and ``why`` where there is nothing to compare. With a margin
        ``non_inferiority`` (see :func:`non_inferiority`); with calls of both ``mcnemar``:
        ``available, operating_point, rows, rows_left_out, note`` and for sensitivity, specificity
        and correctness :meth:`PairedCounts.to_dict` with ``patient_bootstrap``.

    Raises:
        PredictionsError: a model is not in the table, or calls are not booleans.
        UsageError: an impossible margin.
    """
    return _compare(
        outer_rows(predictions),
        [(first, second)],
        n_bootstrap=n_bootstrap,
        seed=seed,
        level=level,
        margin=margin,
        calls=calls or {},
        operating_point=operating_point,
    )[0]


def compare_all(
    table: pd.DataFrame,
    *,
    reference: str | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    margin: float | None = None,
    calls: Mapping[str, pd.Series[bool]] | None = None,
    operating_point: str | None = None,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> list[dict[str, Any]]:
    """Every pair of models, or every model against a reference, with Holm's correction.

    Args:
        table: Of :func:`nodulenet.evaluation.table.read_predictions`.
        reference: The model that is the second of each pair. Defaults to None: every pair, in
            the order of the table.
        pairs: Which pairs, (first, second) each. Defaults to those just said.
        margin: As of :func:`compare_models`, like the rest.
        calls: As there.
        operating_point: As there.
        n_bootstrap: As there.
        seed: As there.
        level: As there.

    Returns:
        One dictionary of :func:`compare_models` a pair, and in it ``tests_in_family`` (the number
        of pairs), ``bootstrap_p_holm``, ``delong_p_holm`` and ``p_holm`` of each McNemar test:
        p values corrected over the pairs, each kind of test by itself. Empty for one model.

    Raises:
        PredictionsError: the reference has no outer rows, or calls are not booleans.
        UsageError: an impossible margin.
    """
    rows = outer_rows(table)
    models = list(dict.fromkeys(rows["model"]))
    if reference is not None:
        _check_models(rows, (reference,))
    if pairs is None:
        pairs = (
            list(combinations(models, 2))
            if reference is None
            else [(model, reference) for model in models if model != reference]
        )
    compared = _compare(
        rows,
        pairs,
        n_bootstrap=n_bootstrap,
        seed=seed,
        level=level,
        margin=margin,
        calls=calls or {},
        operating_point=operating_point,
    )
    add_holm(compared)
    return compared


def _compare(
    rows: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    *,
    n_bootstrap: int,
    seed: int,
    level: float,
    margin: float | None,
    calls: Mapping[str, pd.Series[bool]],
    operating_point: str | None,
) -> list[dict[str, Any]]:
    _check_models(rows, [model for pair in pairs for model in pair])
    key = ["finding_id", "fold"]
    # Sorted by the key, so that the order of the table changes nothing.
    cases = rows.drop_duplicates(key).set_index(key)[["patient_id", "label"]].sort_index()
    scores = _by_model(rows, "probability").reindex(cases.index)
    called = _by_model(rows.assign(call=_calls_of(rows, calls)), "call").reindex(cases.index)

    # Pairs with the same rows share one pass of the bootstrap: it costs more than all the rest.
    masks = {pair: scores[list(pair)].notna().all(axis=1).to_numpy() for pair in pairs}
    shared: dict[bytes, list[tuple[str, str]]] = {}
    for pair, mask in masks.items():
        shared.setdefault(mask.tobytes(), []).append(pair)
    results: dict[tuple[str, str], dict[str, Any]] = {}
    for members in shared.values():
        mask = masks[members[0]]
        labels = cases["label"].to_numpy()[mask]
        patients = cases["patient_id"].to_numpy()[mask]
        defined = np.unique(labels).size == 2
        models = list(dict.fromkeys(model for pair in members for model in pair))
        if defined:
            values = scores.loc[mask, models].to_numpy().T
            result = delong(labels, values)
            replicates = auc_replicates(
                labels, values, patients, n_bootstrap=n_bootstrap, seed=seed
            )
        again = repeated(cases.index.to_frame(index=False)[mask])
        for first, second in members:
            each = scores[[first, second]].notna().to_numpy().sum()
            facts: dict[str, Any] = {
                "first": first,
                "second": second,
                "rows": int(mask.sum()),
                "rows_left_out": int(each - 2 * mask.sum()),
                "findings": int(cases.index[mask].get_level_values("finding_id").nunique()),
                "patients": int(np.unique(patients).size),
            }
            if not defined:
                facts["available"] = False
                facts["why"] = "the rows that both models have do not hold both classes"
                results[first, second] = facts
                continue
            difference = difference_of(
                result, replicates, models.index(first), models.index(second), level
            )
            facts |= {"available": True} | difference.to_dict()
            if margin is not None:
                facts["non_inferiority"] = non_inferiority(difference.bootstrap, margin)
            if first in calls and second in calls:
                facts["mcnemar"] = {"operating_point": operating_point} | compared_calls(
                    labels,
                    called.loc[mask, [first, second]].to_numpy(dtype=np.float64).T,
                    patients,
                    n_bootstrap=n_bootstrap,
                    seed=seed,
                    level=level,
                )
            # Repeats of a finding are no further findings.
            results[first, second] = withhold(facts) if again else facts
    return [results[pair] for pair in pairs]


def _check_models(rows: pd.DataFrame, models: Sequence[str]) -> None:
    there = list(dict.fromkeys(rows["model"]))
    for model in models:
        if model not in there:
            raise PredictionsError(
                f"comparison: model {model!r} has no outer rows; the table has "
                f"{', '.join(map(repr, sorted(there)))}"
            )


def _by_model(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    return rows.pivot(index=["finding_id", "fold"], columns="model", values=column)


def _calls_of(rows: pd.DataFrame, calls: Mapping[str, pd.Series[bool]]) -> Floats:
    """1 and 0 of the rows that are called, NaN of the others."""
    found = pd.Series(np.nan, index=rows.index)
    for model, called in calls.items():
        if not called.index.is_unique:
            raise PredictionsError(
                f"calls of model {model!r}: rows are named twice; give one call for each outer row "
                "of the table, with its index"
            )
        own = called.reindex(rows.index[(rows["model"] == model).to_numpy()]).dropna()
        checked = check_calls(own.to_numpy(), len(own), f"calls of {model!r}")
        found.loc[own.index] = checked.astype(np.float64)
    return np.asarray(found, dtype=np.float64)


def add_holm(compared: list[dict[str, Any]]) -> None:
    """Adds Holm's p values to comparisons in place, each kind of test by itself."""
    for kind in ("bootstrap", "delong"):
        adjusted = holm([row.get(f"{kind}_p_value") for row in compared])
        for row, p in zip(compared, adjusted, strict=True):
            if row["available"]:
                row["tests_in_family"] = len(compared)
                row[f"{kind}_p_holm"] = p
    for measure in MEASURES:
        tests = [row.get("mcnemar", {}).get(measure, {}) for row in compared]
        adjusted = holm([test.get("p_value") for test in tests])
        for test, p in zip(tests, adjusted, strict=True):
            if test:
                test["p_holm"] = p


def two_sided_p(deltas: Floats) -> float:
    """The p value of bootstrap replicates of a difference; see :func:`auc_difference`."""
    defined = deltas[np.isfinite(deltas)]
    rarer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (defined.size + 1))
