"""Baselines that every table has: logistic models without a network, on the same folds.

They are fitted on the training and the stopping part of each fold, which they have no other use
for, and answer for its inner and outer part like a network. A network that does not beat the
diameter with a few statistics of the patch has learned to measure. Acquisition alone must not
predict anything: where it does, labels depend on how scans were made.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.schema import BaselineConfig, ColumnConfig
from nodulenet.evaluation.kinds import ACQUISITION, BASELINE
from nodulenet.evaluation.sizes import known_sizes, why_misleading, with_sizes
from nodulenet.findings.acquisition import KNOWN_ACQUISITION
from nodulenet.patches.folds import Folds
from nodulenet.patches.store import PatchStore
from nodulenet.training.covariates import covariates, logistic_model
from nodulenet.training.intensity import FIXED_RADIUS_MM, STATISTICS, intensity_statistics
from nodulenet.training.prediction_rows import joined, prediction_rows

SIZE = "diameter_mm"
# A column that fewer findings have would compare who was documented.
_LEAST_KNOWN = 0.5


@dataclass(frozen=True)
class Baselines:
    """What the baselines predict.

    Attributes:
        rows: Rows of the predictions table, with ``kind``.
        not_available: ``{"label", "why"}`` of each that could not be fitted.
        notes: What was decided.
    """

    rows: pd.DataFrame
    not_available: tuple[dict[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Design:
    """Covariates of one baseline, or why there are none; findings that have none are not known."""

    label: str
    kind: str
    table: pd.DataFrame
    known: npt.NDArray[np.bool_]
    note: str = ""
    why: str = ""


def baseline_predictions(
    baselines: Sequence[BaselineConfig],
    findings: pd.DataFrame,
    folds: Folds,
    patches: PatchStore,
    *,
    allow_shared_patients: bool = False,
    withheld: Collection[str] = (),
) -> Baselines:
    """Fit and apply the baselines on every fold.

    Args:
        baselines: Which.
        findings: The findings of the folds, in their order: ``finding_id, patient_id, label``,
            ``position`` in the store (empty or below 0: not in it, so that intensities leave the
            finding out), and all further columns.
        folds: Where inner pieces rotate, each piece has its own fit, and the outer rows get the
            mean of them, as those of a network's seeds.
        patches: The store, for intensities.
        allow_shared_patients: As of :meth:`Folds.parts`. Defaults to False.
        withheld: Columns that labels or targets are made from, refused as covariates. Defaults to
            none.

    Raises:
        FindingsError: a column that was asked for is absent, empty or says the label.
    """
    tables, missing, notes = [], [], []
    labels = findings["label"].to_numpy(dtype=np.float64, na_value=np.nan)
    for baseline in baselines:
        design = _design(baseline, findings, patches, withheld)
        if design.why:
            missing.append({"label": design.label, "why": design.why})
            continue
        if design.note:
            notes.append(design.note)
        for fold in folds.folds:
            tables += _of_fold(design, findings, labels, folds, fold, allow_shared_patients)
    return Baselines(joined(tables), tuple(missing), tuple(notes))


def check_baselines(
    baselines: Sequence[BaselineConfig],
    findings: pd.DataFrame,
    *,
    withheld: Collection[str] = (),
) -> None:
    """Refuse before a training what would be refused after it.

    Raises:
        FindingsError: as of :func:`baseline_predictions`.
    """
    for baseline in baselines:
        if baseline.columns is not None:
            _of_columns(findings, baseline.columns, f"baseline {baseline.key}", withheld)


def acquisition_columns(findings: pd.DataFrame) -> list[str]:
    """Columns of :data:`KNOWN_ACQUISITION` that are there, mostly filled in, and vary."""
    found = []
    for names in KNOWN_ACQUISITION:
        name = next((n for n in names if n in findings.columns), None)
        if name is None:
            continue
        values = findings[name]
        if values.notna().mean() >= _LEAST_KNOWN and values.nunique() > 1:
            found.append(name)
    return found


def _of_fold(
    design: _Design,
    findings: pd.DataFrame,
    labels: npt.NDArray[np.float64],
    folds: Folds,
    fold: int,
    allow_shared_patients: bool,
) -> list[pd.DataFrame]:
    """Inner rows of every piece, and the mean over pieces of the outer rows."""
    tables, outer_rows = [], np.empty(0, dtype=np.int64)
    outer: list[npt.NDArray[np.float64]] = []
    for piece in range(folds.pieces):
        parts = folds.parts(fold, piece, allow_shared_patients=allow_shared_patients)
        rows = np.concatenate([parts.train, parts.stop])
        rows = rows[~np.isnan(labels[rows]) & design.known[rows]]
        model = logistic_model(design.table)
        model.fit(design.table.iloc[rows], labels[rows].astype(np.int64))
        inner_rows = parts.inner[design.known[parts.inner]]
        inner = _probability(model, design.table.iloc[inner_rows])
        tables.append(_rows(design, findings.iloc[inner_rows], inner, fold, "inner"))
        outer_rows = parts.outer[design.known[parts.outer]]
        outer.append(_probability(model, design.table.iloc[outer_rows]))
    mean = np.mean(outer, axis=0)
    return [*tables, _rows(design, findings.iloc[outer_rows], mean, fold, "outer")]


def _rows(
    design: _Design,
    findings: pd.DataFrame,
    probability: npt.NDArray[np.float64],
    fold: int,
    split: str,
) -> pd.DataFrame:
    return prediction_rows(
        findings, probability, fold=fold, model=design.label, split=split, kind=design.kind
    )


def _probability(model: Any, table: pd.DataFrame) -> npt.NDArray[np.float64]:
    if table.empty:
        return np.empty(0)
    return np.asarray(model.predict_proba(table)[:, 1], dtype=np.float64)


def _design(
    baseline: BaselineConfig,
    findings: pd.DataFrame,
    patches: PatchStore,
    withheld: Collection[str],
) -> _Design:
    kind = ACQUISITION if baseline.kind == "acquisition" else BASELINE
    everybody = np.ones(len(findings), dtype=bool)
    if baseline.kind == "intensity":
        return _intensity(baseline, findings, patches)
    columns = baseline.columns
    note = ""
    if columns is None:
        names = acquisition_columns(findings)
        if not names:
            asked = ", ".join(group[0] for group in KNOWN_ACQUISITION)
            why = f"no column of {asked} is among the findings, known for half of them and varies"
            return _Design(baseline.key, kind, pd.DataFrame(), everybody, why=why)
        columns = [ColumnConfig(column=name, missing="median") for name in names]
        note = f"{baseline.key}: of {', '.join(names)}"
    table = _of_columns(findings, columns, f"baseline {baseline.key}", withheld)
    return _Design(baseline.key, kind, table, everybody, note)


def _of_columns(
    findings: pd.DataFrame, columns: Sequence[ColumnConfig], where: str, withheld: Collection[str]
) -> pd.DataFrame:
    """Covariates of the labelled findings, which alone are used; the others' rows are empty."""
    labelled = findings[findings["label"].notna().to_numpy(dtype=bool)]
    return covariates(labelled, columns, where, withheld=withheld).reindex(findings.index)


def _intensity(baseline: BaselineConfig, findings: pd.DataFrame, patches: PatchStore) -> _Design:
    """Diameter and statistics of the patch; statistics within a fixed radius without diameters."""
    label = baseline.key
    why = _no_diameters(findings)
    if why:
        diameters = np.full(len(findings), 2 * FIXED_RADIUS_MM)
        if baseline.label is None:
            label = "intensity"
        note = (
            f"{label}: statistics of the values within {FIXED_RADIUS_MM:g} mm of the centre and "
            f"round it, without the diameter: {why}"
        )
    else:
        sizes = with_sizes(findings, SIZE)[SIZE]
        known = int(sizes.notna().sum())
        diameters = sizes.fillna(sizes.median()).to_numpy(dtype=np.float64)
        note = (
            f"{label}: {len(findings) - known} findings without a diameter were measured within "
            f"the median diameter"
            if known < len(findings)
            else ""
        )
    positions = pd.to_numeric(findings["position"]).fillna(-1).to_numpy(dtype=np.int64)
    stored = positions >= 0
    table = pd.DataFrame(index=findings.index, columns=list(STATISTICS), dtype=np.float64)
    table.loc[stored] = intensity_statistics(
        patches, positions[stored], diameters[stored]
    ).to_numpy()
    if not why:
        table["diameter_mm"] = diameters
        table["log diameter_mm"] = np.log(diameters)
    return _Design(label, BASELINE, table, stored, note)


def _no_diameters(findings: pd.DataFrame) -> str:
    """Why the diameter must not be used, or nothing."""
    if SIZE not in findings.columns:
        return f"there is no column {SIZE}"
    labelled = findings[findings["label"].notna().to_numpy(dtype=bool)]
    labelled = with_sizes(labelled, SIZE)
    return why_misleading(labelled, known_sizes(labelled, SIZE), SIZE)
