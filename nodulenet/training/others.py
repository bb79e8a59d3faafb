"""Predictions that were made elsewhere, on the folds of this run: checked, then one model more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nodulenet.config.schema import OtherPredictions
from nodulenet.errors import FindingsError, PredictionsError
from nodulenet.evaluation.kinds import OTHER
from nodulenet.findings.reading import FIRST_ROW_LINE, read_csv, refuse_rows
from nodulenet.patches.folds import Folds
from nodulenet.training.prediction_rows import joined, prediction_rows

_SPLITS = ("inner", "outer")


def other_predictions(
    others: Sequence[OtherPredictions], findings: pd.DataFrame, folds: Folds
) -> pd.DataFrame:
    """Rows of the predictions table from files of others.

    A file has ``finding_id, probability`` of every labelled finding of the outer folds. ``fold``
    says which fold the row is of; without it a finding's row is of the fold that holds it out.
    Rows with ``split`` ``inner`` are of a finding that took no part in that fold's training, and
    choose thresholds; they need ``fold``. Other columns are not read.

    Args:
        others: Name and file of each.
        findings: The findings of the folds, in their order: ``finding_id, patient_id, label``.
        folds: Who is held out where.

    Raises:
        PredictionsError: a file is absent or wrong: a finding of an outer fold is missing, one is
            unknown or there twice, a probability is outside 0..1, a fold is not the finding's.
    """
    return joined([_rows(other, findings, folds) for other in others])


def _rows(other: OtherPredictions, findings: pd.DataFrame, folds: Folds) -> pd.DataFrame:
    path = Path(other.path)
    try:
        table = read_csv(
            path,
            numbers=["probability"],
            ids=["finding_id"],
            optional_numbers=["fold"],
            texts=["split"],
        )
        _check_values(path, table)
        held_out = _held_out(findings, folds)
        table = _with_folds(path, table, held_out)
        _check_findings(path, table, findings)
        _check_folds(path, table, held_out)
    except FindingsError as error:
        # What is wrong with it is the same; what it is of is predictions.
        raise PredictionsError(f"others.{other.label}: {error}") from None
    _require_all(other, path, table, held_out)
    known = findings.set_index("finding_id", drop=False)
    parts = []
    for (split, fold), rows in table.groupby(["split", "fold"], sort=True):
        parts.append(
            prediction_rows(
                known.loc[rows["finding_id"]],
                rows["probability"].to_numpy(),
                fold=int(str(fold)),
                model=other.label,
                split=str(split),
                kind=OTHER,
            )
        )
    return joined(parts)


def _held_out(findings: pd.DataFrame, folds: Folds) -> pd.DataFrame:
    """``finding_id, fold`` of every labelled finding in an outer fold; once a repeat."""
    labelled = findings["label"].notna().to_numpy(dtype=bool)
    parts = []
    for fold in folds.folds:
        rows = np.flatnonzero((folds.table["fold"] == fold).to_numpy()) % len(findings)
        own = findings["finding_id"].to_numpy()[rows[labelled[rows]]]
        parts.append(pd.DataFrame({"finding_id": own, "fold": fold}))
    return pd.concat(parts, ignore_index=True)


def _check_values(path: Path, table: pd.DataFrame) -> None:
    outside = ~table["probability"].between(0, 1)
    refuse_rows(path, table, "probability", outside, "a probability from 0 to 1")
    if "split" not in table.columns:
        table["split"] = "outer"
    table["split"] = table["split"].replace("", "outer")
    refuse_rows(path, table, "split", ~table["split"].isin(_SPLITS), "inner or outer")


def _with_folds(path: Path, table: pd.DataFrame, held_out: pd.DataFrame) -> pd.DataFrame:
    """The table with whole numbers of folds: those given, else the one that holds it out."""
    several = held_out["finding_id"].duplicated().any()
    given = table["fold"] if "fold" in table.columns else pd.Series(np.nan, index=table.index)
    inner_without = (table["split"] == "inner") & given.isna()
    refuse_rows(
        path, table.assign(fold=given), "fold", inner_without, "the fold that an inner row is of"
    )
    if several:
        refuse_rows(
            path,
            table.assign(fold=given),
            "fold",
            given.isna(),
            "a fold in every row, because folds are repeated",
        )
        return table.assign(fold=given.astype(np.int64))
    own = table["finding_id"].map(held_out.set_index("finding_id")["fold"])
    # Unknown findings are told by their own check.
    return table.assign(fold=given.fillna(own).fillna(-1).astype(np.int64))


def _check_findings(path: Path, table: pd.DataFrame, findings: pd.DataFrame) -> None:
    unknown = ~table["finding_id"].isin(findings["finding_id"])
    refuse_rows(path, table, "finding_id", unknown, "a finding of this run (folds.csv)")
    labelled = findings.loc[findings["label"].notna().to_numpy(dtype=bool), "finding_id"]
    without = ~table["finding_id"].isin(labelled)
    refuse_rows(path, table, "finding_id", without, "a finding that has a label (folds.csv)")
    twice = table.duplicated(["finding_id", "fold", "split"])
    refuse_rows(path, table, "finding_id", twice, "every finding once (a fold)")


def _check_folds(path: Path, table: pd.DataFrame, held_out: pd.DataFrame) -> None:
    """Outer rows are of folds that hold the finding out, inner rows of folds that do not."""
    key = ["finding_id", "fold"]
    is_held_out = pd.MultiIndex.from_frame(table[key]).isin(pd.MultiIndex.from_frame(held_out[key]))
    outer = (table["split"] == "outer").to_numpy()
    real = table["fold"].isin(held_out["fold"].unique()).to_numpy()
    wrong = ~real | (outer != is_held_out)
    if not wrong.any():
        return
    row = int(np.argmax(wrong))
    finding, fold, split = table.loc[row, ["finding_id", "fold", "split"]]
    own = held_out.loc[held_out["finding_id"] == finding, "fold"].tolist()
    where = f"held out in fold {', '.join(map(str, own))}" if own else "held out in no fold"
    raise FindingsError(
        f"{path}: line {row + FIRST_ROW_LINE}: finding {finding!r} has an {split} row of fold "
        f"{fold}, but is {where} (folds.csv); predict each outer fold by a model that did not "
        f"see it"
    )


def _require_all(
    other: OtherPredictions, path: Path, table: pd.DataFrame, held_out: pd.DataFrame
) -> None:
    key = ["finding_id", "fold"]
    given = pd.MultiIndex.from_frame(table.loc[table["split"] == "outer", key])
    missing = held_out[~pd.MultiIndex.from_frame(held_out[key]).isin(given)]
    if len(missing):
        first = missing.iloc[0]
        raise PredictionsError(
            f"others.{other.label}: {path}: finding {first['finding_id']!r} of fold "
            f"{first['fold']} has no prediction ({len(missing)} of {len(held_out)} are missing); "
            f"expected one for every labelled finding of the outer folds"
        )
