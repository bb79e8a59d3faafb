"""Predictions of several files on the same findings: joined, checked and compared."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nodulenet.config.schema import OperatingPointConfig
from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.calls import MEASURES
from nodulenet.evaluation.compare import compare_all, reference_for
from nodulenet.evaluation.interval import LEVEL
from nodulenet.evaluation.kinds import model_kinds, pairs_of
from nodulenet.evaluation.table import outer_rows, read_predictions

SCHEMA = "nodulenet.comparison/1"
# What a run directory holds; nothing else of it is opened.
RUN_TABLE = "predictions.csv"


@dataclass(frozen=True, kw_only=True)
class JoinedPredictions:
    """Models of one or several files on the findings that all of them have.

    Attributes:
        predictions: Outer rows, the same findings for every model; columns as of
            :func:`nodulenet.evaluation.table.read_predictions`, ``model`` with the names below.
        sources: Model -> the file it is from.
        rows_left_out: Model -> outer rows of findings that not all models have.
        paired_by: ``"finding_id and fold"`` or ``"finding_id"``.
        operating_point: Where ``calls`` are made: ``"Youden"`` (the threshold of each fold from
            its inner rows) or ``"0.5"``.
        calls: Model -> whether each of its rows in ``predictions`` is called positive.
        notes: What was filled in or decided.
    """

    predictions: pd.DataFrame
    sources: dict[str, str]
    rows_left_out: dict[str, int]
    paired_by: str
    operating_point: str
    calls: dict[str, pd.Series[bool]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    """One table and what its header said before anything was filled in."""

    name: str
    label: str
    table: pd.DataFrame
    columns: frozenset[str]

    @property
    def has_patients(self) -> bool:
        return "patient_id" in self.columns


def join_predictions(sources: Sequence[str | os.PathLike[str]]) -> JoinedPredictions:
    """Reads tables of predictions and joins them by finding.

    A model keeps its name where no other file has it; else it is called by its run or file
    (``RUN``, or ``RUN:MODEL`` where that holds several models). Findings are paired by
    ``finding_id``, and by ``fold`` too where all models have them in the same folds.

    Args:
        sources: Run directories (their ``predictions.csv`` is read, nothing else) or CSV files.

    Returns:
        Only findings that all models have.

    Raises:
        UsageError: a source is given twice, or there are not two models.
        PredictionsError: a table is wrong; finding identifiers are missing or differ altogether;
            a finding has another label or patient in another file, or several predictions that
            cannot be paired.
    """
    files = _read(sources)
    notes = [
        f"{file.label}: {note}" if len(files) > 1 else str(note)
        for file in files
        for note in file.table.attrs["notes"]
        # What a single fold or model is called has no bearing on a comparison.
        if not note.startswith(("no fold column", "no model column"))
    ]
    table, models = _one_table(files, notes)
    if len(models) < 2:
        raise UsageError(
            f"comparison: {', '.join(file.name for file in files)} holds one model "
            f"({next(iter(models))}); give a second run or CSV, or a table with several models"
        )
    rows = outer_rows(table)
    rows, by_fold = _common_rows(rows, list(models), notes)
    before = table[table["split"] == "outer"]["model"].value_counts()
    left_out = {model: int(before[model] - (rows["model"] == model).sum()) for model in models}
    # Before folds are made one below: thresholds belong to the folds of each file.
    point, calls = _calls(table, rows, list(models), notes)
    if not by_fold:
        rows = rows.assign(fold=0)
    rows.attrs = {"source": ", ".join(file.name for file in files), "notes": []}
    return JoinedPredictions(
        predictions=rows,
        sources=models,
        rows_left_out=left_out,
        paired_by="finding_id and fold" if by_fold else "finding_id",
        operating_point=point,
        calls=calls,
        notes=tuple(notes),
    )


def compare_sources(
    sources: Sequence[str | os.PathLike[str]],
    *,
    reference: str | None = None,
    margin: float | None = None,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Joins tables of predictions and compares their models in pairs, JSON-ready.

    Args:
        sources: As of :func:`join_predictions`.
        reference: The model that each other is compared with. Defaults to None: every pair (of
            runs, baselines not with each other), or with a margin the model given first.
        margin: Non-inferiority margin of the AUC. Defaults to None.
        n_bootstrap: Number of resamples of the patients. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.

    Returns:
        ``schema, settings, models`` (name -> ``source, rows_left_out``), ``data`` (``rows,
        findings, patients, positives, negatives``), ``paired_by, operating_point, comparisons``
        (of :func:`nodulenet.evaluation.compare.compare_all`) and ``notes``.

    Raises:
        UsageError: as of :func:`join_predictions`, or an unknown reference or impossible margin.
        PredictionsError: as of :func:`join_predictions`.
    """
    joined = join_predictions(sources)
    notes = list(joined.notes)
    if reference is not None and reference not in joined.sources:
        raise UsageError(
            f"reference {reference!r}: no such model; the models are "
            f"{', '.join(map(repr, joined.sources))}"
        )
    reference, chosen = reference_for(list(joined.sources), reference, margin)
    if chosen:
        notes.append(f"{chosen}; name another with --reference")
    rows = joined.predictions
    findings = rows.drop_duplicates("finding_id")
    comparisons = compare_all(
        rows,
        reference=reference,
        pairs=pairs_of(model_kinds(rows), reference),
        margin=margin,
        calls=joined.calls,
        operating_point=joined.operating_point,
        n_bootstrap=n_bootstrap,
        seed=seed,
        level=level,
    )
    return {
        "schema": SCHEMA,
        "settings": {
            "reference": reference,
            "margin": margin,
            "n_bootstrap": n_bootstrap,
            "seed": seed,
            "level": level,
            "unit_of_bootstrap": "patient",
        },
        "models": {
            model: {"source": source, "rows_left_out": joined.rows_left_out[model]}
            for model, source in joined.sources.items()
        },
        "data": {
            "rows": len(rows) // len(joined.sources),
            "findings": len(findings),
            "patients": int(findings["patient_id"].nunique()),
            "positives": int(findings["label"].sum()),
            "negatives": int((findings["label"] == 0).sum()),
        },
        "paired_by": joined.paired_by,
        "operating_point": joined.operating_point,
        "comparisons": comparisons,
        "notes": notes,
    }


def flat_comparisons(comparisons: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row a pair with its numbers in columns, for a spreadsheet.

    Args:
        comparisons: Of :func:`nodulenet.evaluation.compare.compare_all`.
    """
    flat = []
    for row in comparisons:
        cells = {
            name: row.get(name)
            for name in (
                "first",
                "second",
                "available",
                "why",
                "rows",
                "rows_left_out",
                "patients",
                "first_auc",
                "second_auc",
                "difference",
            )
        }
        for kind in ("patient_bootstrap", "delong"):
            limits = row.get(kind) or {}
            cells[f"{kind}_low"], cells[f"{kind}_high"] = limits.get("low"), limits.get("high")
        for name in ("bootstrap_p_value", "bootstrap_p_holm", "delong_p_value", "delong_p_holm"):
            cells[name] = row.get(name)
        non_inferior = row.get("non_inferiority") or {}
        cells["margin"] = non_inferior.get("margin")
        cells["non_inferior"] = non_inferior.get("non_inferior")
        calls = row.get("mcnemar") or {}
        cells["operating_point"] = calls.get("operating_point")
        for measure in MEASURES:
            test = calls.get(measure) or {}
            limits = test.get("patient_bootstrap") or {}
            cells |= {
                f"{measure}_first": test.get("first"),
                f"{measure}_second": test.get("second"),
                f"{measure}_difference": test.get("difference"),
                f"{measure}_low": limits.get("low"),
                f"{measure}_high": limits.get("high"),
                f"{measure}_first_only": test.get("first_only"),
                f"{measure}_second_only": test.get("second_only"),
                f"{measure}_mcnemar_p_value": test.get("p_value"),
                f"{measure}_mcnemar_p_holm": test.get("p_holm"),
            }
        flat.append(cells)
    # Counts with a gap would be written as 3.0; object keeps them as they are.
    return pd.DataFrame(flat, dtype=object)


def _read(sources: Sequence[str | os.PathLike[str]]) -> list[_File]:
    paths = [Path(source) for source in sources]
    tables = [path / RUN_TABLE if path.is_dir() else path for path in paths]
    repeated = [csv for csv, count in Counter(t.resolve() for t in tables).items() if count > 1]
    if repeated:
        raise UsageError(f"comparison: {repeated[0]} is given twice; give each run or CSV once")
    files = []
    for path, csv, label in zip(paths, tables, _labels(paths), strict=True):
        if path.is_dir() and not csv.is_file():
            raise PredictionsError(
                f"{path}: holds no {RUN_TABLE}; give a finished run, or the CSV itself"
            )
        table = read_predictions(csv)
        header = frozenset(pd.read_csv(csv, nrows=0).columns)
        files.append(_File(str(csv), label, table, header))
    for file in files:
        if len(files) > 1 and "finding_id" not in file.columns:
            raise PredictionsError(
                f"{file.name}: column 'finding_id' is missing, so its rows cannot be paired with "
                "those of the other files; add it"
            )
    return files


def _labels(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ: ``wide``, or ``june/wide`` and ``july/wide``."""
    # a/predictions.csv is what a run called a holds.
    homes = [p.resolve().parent if p.name == RUN_TABLE else p.resolve() for p in paths]
    named = [home.with_suffix("") if home.is_file() else home for home in homes]
    if len(set(named)) < len(named):
        named = homes  # the folder a and a.csv
    labels = []
    for path in named:
        depth = 1
        while sum(other.parts[-depth:] == path.parts[-depth:] for other in named) > 1:
            depth += 1
        labels.append("/".join(path.parts[-depth:]))
    return labels


def _one_table(files: Sequence[_File], notes: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """All rows with one name a model and one patient a finding; model -> file."""
    with_outer = [
        dict.fromkeys(file.table.loc[file.table["split"] == "outer", "model"]) for file in files
    ]
    everywhere = Counter(model for models in with_outer for model in models)
    parts = []
    sources: dict[str, str] = {}
    for file, models in zip(files, with_outer, strict=True):
        if not models:
            raise PredictionsError(
                f"{file.name}: no rows with split 'outer'; only out-of-fold predictions are "
                "compared"
            )
        names = {}
        for model in models:
            # A model column that is not there was filled in with a word that names nothing.
            if "model" in file.columns and everywhere[model] == 1:
                names[model] = model
            else:
                names[model] = file.label if len(models) == 1 else f"{file.label}:{model}"
        for name in names.values():
            if name in sources:
                raise PredictionsError(
                    f"{file.name}: model {name!r} has the name of a model in {sources[name]}; "
                    "rename one of them in its 'model' column"
                )
            sources[name] = file.name
        own = file.table[file.table["model"].isin(list(names))]
        parts.append(own.assign(model=own["model"].map(names), _file=file.name))
    table = pd.concat(parts, ignore_index=True)
    table["patient_id"] = _patients(files, table, notes)
    _check_agreement(table, "label")
    _check_agreement(table, "patient_id")
    return table.drop(columns="_file"), sources


def _patients(files: Sequence[_File], table: pd.DataFrame, notes: list[str]) -> pd.Series[str]:
    """Patients of findings from the files that know them, where another does not."""
    knowing = {file.name for file in files if file.has_patients}
    if not knowing or len(knowing) == len(files):
        return table["patient_id"]
    known = table[table["_file"].isin(knowing)].drop_duplicates("finding_id")
    patients = table["finding_id"].map(known.set_index("finding_id")["patient_id"])
    for file in files:
        if not file.has_patients:
            notes.append(f"{file.label}: its patients were taken from the other files")
    # A note of the reading that no longer holds.
    notes[:] = [note for note in notes if "no patient_id column" not in note]
    unknown_to_others = table["_file"].isin(knowing)
    return table["patient_id"].where(unknown_to_others | patients.isna(), patients)


def _check_agreement(table: pd.DataFrame, column: str) -> None:
    """One label and one patient a finding over all files."""
    each = table.drop_duplicates(["finding_id", column])
    twice = each[each["finding_id"].duplicated(keep=False)]
    if twice.empty:
        return
    finding = twice["finding_id"].iloc[0]
    pair = twice[twice["finding_id"] == finding].iloc[:2]
    (a, b), (file, other) = pair[column], pair["_file"]
    what, remedy = {
        "label": ("label", "compare models on one definition of the label"),
        "patient_id": ("patient", "give the same patient_id in all files"),
    }[column]
    raise PredictionsError(
        f"finding {finding!r}: {what} {a} in {file} and {b} in {other}; {remedy}"
    )


def _common_rows(
    rows: pd.DataFrame, models: Sequence[str], notes: list[str]
) -> tuple[pd.DataFrame, bool]:
    """Rows of the findings that all models have; whether folds pair them too."""
    ids = [set(rows.loc[rows["model"] == model, "finding_id"]) for model in models]
    common = set.intersection(*ids)
    if not common:
        raise PredictionsError(
            "comparison: no finding is in all models; first of each: "
            + ", ".join(f"{m!r} {min(i)}" for m, i in zip(models, ids, strict=True))
            + "; give files whose finding_id means the same"
        )
    kept = rows[rows["finding_id"].isin(common)]
    cells = [
        set(zip(own["finding_id"], own["fold"], strict=True))
        for own in (kept[kept["model"] == model] for model in models)
    ]
    if all(cell == cells[0] for cell in cells):
        return kept, True
    repeated = kept[kept.duplicated(["finding_id", "model"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise PredictionsError(
            f"finding {row['finding_id']!r}: model {row['model']!r} has several predictions of it "
            "(repeated folds) and another model has it in other folds, so they cannot be paired; "
            "give files with the same folds, or one prediction a finding"
        )
    notes.append(
        "the models have the findings in different folds, so they were paired by finding_id alone; "
        "part of a difference may be the folds'"
    )
    return kept, False


def _calls(
    table: pd.DataFrame, rows: pd.DataFrame, models: Sequence[str], notes: list[str]
) -> tuple[str, dict[str, pd.Series[bool]]]:
    """Calls at the Youden thresholds of inner rows where every model has them, else at 0.5."""
    from nodulenet.evaluation.thresholds import fixed_operating_point, table_operating_points

    inner = table[table["split"] == "inner"]
    youden = [OperatingPointConfig(kind="youden")]
    chosen = {}
    for model in models:
        own = rows[rows["model"] == model]
        points = table_operating_points(inner[inner["model"] == model], own, youden)
        if not points or points[0].folds_left_out:
            notes.append(
                f"sensitivity and specificity are compared at the threshold 0.5: model {model!r} "
                "has no inner rows of both classes in every fold to choose another from"
            )
            fixed = {m: fixed_operating_point(rows[rows["model"] == m]) for m in models}
            return next(iter(fixed.values())).name, {m: p.calls for m, p in fixed.items()}
        chosen[model] = points[0]
    return next(iter(chosen.values())).name, {m: p.calls for m, p in chosen.items()}
