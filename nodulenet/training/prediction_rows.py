"""Rows of ``predictions.csv`` for what is no network: the same columns, and what kind it is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.training.data import CARRIED

COLUMNS = ("finding_id", "patient_id", "fold", "model", "split", "label", "probability", "kind")


def prediction_rows(
    findings: pd.DataFrame,
    probability: npt.NDArray[np.floating],
    *,
    fold: int,
    model: str,
    split: str,
    kind: str,
) -> pd.DataFrame:
    """Predictions of findings as rows of the predictions table; those without a label are left out.

    Args:
        findings: The predicted findings, with ``finding_id, patient_id, label``.
        probability: Of label 1, shape (n,).
        fold: The outer fold.
        model: Name of the model.
        split: ``inner`` or ``outer``.
        kind: One of :data:`nodulenet.evaluation.kinds.KINDS`.
    """
    known = findings["label"].notna().to_numpy(dtype=bool)
    own = findings[known]
    return pd.DataFrame(
        {
            "finding_id": own["finding_id"],
            "patient_id": own["patient_id"],
            "fold": fold,
            "model": model,
            "split": split,
            "label": own["label"].astype(int),
            "probability": np.asarray(probability, dtype=np.float64)[known],
            **{c: own[c] for c in CARRIED if c in own.columns},
            "kind": kind,
        }
    )


def joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The tables below each other; with our columns where there are none."""
    # An empty table would turn numbers into objects.
    filled = [table for table in tables if len(table)]
    if not filled:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(filled, ignore_index=True)
