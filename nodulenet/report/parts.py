"""What a report counts of a run's folds: who is in which part, and how often it was looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.patches.folds import Folds

PART_NAMES: Final = ("train", "stop", "inner", "outer")


def parts_of_folds(folds: Folds, *, allow_shared_patients: bool = False) -> list[dict[str, Any]]:
    """Findings, positives and patients in every part of every fold.

    Where inner pieces rotate, a training part is told by its smallest and largest, and an inner
    part by all pieces together, because thresholds and stacks are fitted on all of them.

    Args:
        folds: Of the run.
        allow_shared_patients: As of :meth:`Folds.parts`. Defaults to False.

    Returns:
        One dictionary a fold: ``fold``, and of each of ``train, stop, inner, outer`` a dictionary
        of ``findings, positives, patients``, each ``(smallest, largest)``.
    """
    table = folds.table.iloc[: _findings(folds)]
    positive = (table["label"] == 1).fillna(False).to_numpy(dtype=bool)
    patients = table["patient_id"].to_numpy()
    rows = []
    for fold in folds.folds:
        trainings = [
            folds.parts(fold, piece, allow_shared_patients=allow_shared_patients)
            for piece in range(folds.pieces)
        ]
        inner = np.unique(np.concatenate([parts.inner for parts in trainings]))
        of_parts = {
            "train": [parts.train for parts in trainings],
            "stop": [parts.stop for parts in trainings],
            "inner": [inner],
            "outer": [trainings[0].outer],
        }
        rows.append(
            {"fold": fold}
            | {name: _counts(found, positive, patients) for name, found in of_parts.items()}
        )
    return rows


def count_scorings(scorings: pd.DataFrame) -> dict[str, int]:
    """How often held-out findings were scored.

    Args:
        scorings: ``model, fold, seed, identity``, a row a time that a trained model scored the
            held-out findings of its fold.

    Returns:
        ``times`` (rows), ``recipes``: different settings, data and models that were looked at, and
        ``again``: times that the same training was scored once more.
    """
    unit = ["model", "fold", "seed"]
    each = scorings.groupby(unit)["identity"].nunique()
    recipes = each.groupby(level="model").max() if len(each) else each
    again = scorings.duplicated([*unit, "identity"])
    return {
        "times": len(scorings),
        "recipes": int(recipes.sum()),
        "again": int(again.sum()),
    }


def costs_of_models(units: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each model took: of its units the size, the median speed and the summed minutes.

    Args:
        units: Facts of the trained units: ``model``, and any of ``parameters,
            multiply_accumulates, patches_per_s, minutes``.

    Returns:
        Model -> those that are known.
    """
    table = pd.DataFrame(list(units))
    if table.empty:
        return {}
    ways = {
        "parameters": "max",
        "multiply_accumulates": "max",
        "patches_per_s": "median",
        "minutes": "sum",
    }
    costs: dict[str, dict[str, Any]] = {}
    for model, own in table.groupby("model", sort=False):
        known = {name: own[name].dropna() for name in ways if name in own.columns}
        costs[str(model)] = {
            name: _plain(values.agg(ways[name]), whole=ways[name] == "max")
            for name, values in known.items()
            if len(values)
        }
    return costs


def _findings(folds: Folds) -> int:
    """Findings of the table, which has every one once a repeat."""
    return int(folds.table["finding_id"].nunique())


def _counts(
    found: list[npt.NDArray[np.int64]],
    positive: npt.NDArray[np.bool_],
    patients: npt.NDArray[Any],
) -> dict[str, tuple[int, int]]:
    counts = {
        "findings": [len(rows) for rows in found],
        "positives": [int(positive[rows].sum()) for rows in found],
        "patients": [len(set(patients[rows])) for rows in found],
    }
    return {name: (min(values), max(values)) for name, values in counts.items()}


def _plain(value: Any, *, whole: bool) -> int | float:
    return int(value) if whole else float(value)
