"""Patients on two sides: what a table of predictions shows of it, without the training at hand."""

from __future__ import annotations

import pandas as pd


def crossing_patients(table: pd.DataFrame) -> list[str]:
    """Patients whose findings lie in different folds, sorted.

    Two findings of a patient have to lie in the same folds of a model; in repeated k-fold these
    are several, one a repeat.

    Args:
        table: ``finding_id, patient_id, fold`` and, where there are several, ``model``: outer
            rows, or ``folds.csv``.
    """
    of_model = [column for column in ("model",) if column in table.columns]
    rows = table[[*of_model, "patient_id", "finding_id", "fold"]].drop_duplicates()
    # The sum of hashes stands for the set of folds, whatever their order. As text, because the
    # number 0 has the hash 0 and would add nothing.
    rows = rows.assign(folds=pd.util.hash_array(rows["fold"].astype(str).to_numpy(object)))
    sets = rows.groupby([*of_model, "patient_id", "finding_id"], sort=False)["folds"].sum()
    different = sets.groupby([*of_model, "patient_id"], sort=False).nunique() > 1
    return sorted({str(p) for p in different.index[different].get_level_values("patient_id")})


def chosen_on_patients(table: pd.DataFrame) -> list[str]:
    """Patients that are inner and outer of one fold of a model, sorted.

    What is chosen on inner rows (thresholds, recalibration) has seen them.

    Args:
        table: Of :func:`nodulenet.evaluation.table.read_predictions`.
    """
    key = ["model", "fold", "patient_id"]
    inner = table.loc[table["split"] == "inner", key].drop_duplicates()
    outer = table.loc[table["split"] == "outer", key].drop_duplicates()
    return sorted(map(str, inner.merge(outer, on=key)["patient_id"].unique()))
