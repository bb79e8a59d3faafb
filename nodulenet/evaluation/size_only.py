"""The size-only row: how far the diameter alone gets, beside every model.

On nodule data size explains most of what a model can reach, so no figure stands without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from nodulenet.evaluation.bootstrap import auc_bootstrap
from nodulenet.evaluation.compare import auc_difference
from nodulenet.evaluation.interval import LEVEL
from nodulenet.evaluation.roc import (
    auc,
    average_precision,
    delong,
    sensitivity_at_specificity,
)

# With a diameter for fewer than this share of a class, having one is itself the answer.
MINIMUM_SHARE = 0.5
FIXED_SPECIFICITY = 0.9


def size_only(
    rows: pd.DataFrame,
    *,
    column: str = "diameter_mm",
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Rank metrics of one column taken as the score, and the models beside it on the same rows.

    Args:
        rows: Outer rows of a validated predictions table, with one or several models.
        column: The column; empty, zero and negative values count as unknown. Defaults to
            ``"diameter_mm"``.
        n_bootstrap: Resamples of the patients. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.

    Returns:
        JSON-ready. ``available`` False and ``why`` where the row would mislead: no such column,
        or the size known for less than half of a class (a LUNA16 candidate has a diameter only
        where it is a nodule, so that its presence gives the label away).
    """
    if column not in rows.columns:
        return {"available": False, "column": column, "why": f"there is no column {column!r}"}
    findings = rows.drop_duplicates("finding_id")
    known = findings[column].gt(0) & np.isfinite(findings[column])
    counts = {
        "available": True,
        "column": column,
        "findings": len(findings),
        "with_size": int(known.sum()),
        "without_size": int((~known).sum()),
        "positives_with_size": int((known & (findings["label"] == 1)).sum()),
        "negatives_with_size": int((known & (findings["label"] == 0)).sum()),
    }
    for label, word in ((1, "positive"), (0, "negative")):
        of_class = findings["label"] == label
        total, with_size = int(of_class.sum()), int((known & of_class).sum())
        if with_size == 0 or with_size < MINIMUM_SHARE * total:
            why = (
                f"{column} is known for {with_size} of {total} {word} findings, so that a "
                "comparison by size would compare who was measured, not how large they are"
            )
            return counts | {"available": False, "why": why}

    measured = findings[known]
    label, size = measured["label"].to_numpy(), measured[column].to_numpy(dtype=np.float64)
    patients = measured["patient_id"].to_numpy()
    bootstrap: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed, "level": level}
    result = delong(label, size)
    return counts | {
        "patients": int(measured["patient_id"].nunique()),
        "auc": {
            "value": float(result.aucs[0]),
            "patient_bootstrap": auc_bootstrap(label, size, patients, **bootstrap).to_dict(),
            "delong": result.interval(level=level).to_dict(),
        },
        "average_precision": average_precision(label, size),
        "sensitivity_at_specificity": sensitivity_at_specificity(
            label, size, specificity=FIXED_SPECIFICITY
        ).to_dict(),
        "folds": _per_fold(measured, column),
        "comparisons": [
            _against(str(model), part, column, bootstrap)
            for model, part in rows.groupby("model", sort=False)
        ],
    }


def _per_fold(measured: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    return [
        {
            "fold": int(str(fold)),
            "auc": auc(part["label"], part[column]) if part["label"].nunique() > 1 else None,
        }
        for fold, part in measured.groupby("fold", sort=True)
    ]


def _against(
    model: str, rows: pd.DataFrame, column: str, bootstrap: dict[str, Any]
) -> dict[str, Any]:
    """The model minus the size, on the rows of the model that have a size."""
    part = rows[rows[column].gt(0) & np.isfinite(rows[column])]
    facts = {"first": model, "second": column, "rows": len(part)}
    if part["label"].nunique() < 2:
        why = "the rows with a size do not hold both classes"
        return facts | {"available": False, "why": why}
    result = auc_difference(
        part["label"], part["probability"], part[column], part["patient_id"], **bootstrap
    )
    return facts | {"available": True} | result.to_dict()
