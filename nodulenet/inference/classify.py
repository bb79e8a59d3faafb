"""Findings in a scan, or patches that are there already: calibrated probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from nodulenet.config.meaning import MEANINGS
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import ArchiveColumns, PatchArchiveSource
from nodulenet.ct import CTVolume, extract_patches, open_ct
from nodulenet.ct.patch import require_inside
from nodulenet.errors import DataError, NoduleNetError, UsageError
from nodulenet.evaluation.prevalence import rebased
from nodulenet.findings.reading import read_csv
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.inference.answering import Answering, Chosen, chosen_answering
from nodulenet.inference.answers import ANSWER_COLUMNS, INDETERMINATE, Answers
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundled_model import BundledModel, stack_covariates
from nodulenet.inference.doubts import finding_warnings
from nodulenet.patches.archive import has_array, read_patch_archive
from nodulenet.patches.values import Values

_PLACE_FIELDS = ("offset", "nz", "ny", "nx")


def classify(
    scan: str | Path | CTVolume,
    points_lps_mm: npt.ArrayLike,
    bundle: Bundle | str | Path,
    *,
    finding_ids: Sequence[str] | None = None,
    findings: pd.DataFrame | None = None,
    model: str | None = None,
    series_uid: str | None = None,
    answering: Answering | None = None,
) -> Answers:
    """Probabilities at points of a scan.

    Args:
        scan: a path that :func:`nodulenet.ct.open_ct` reads, or an opened scan.
        points_lps_mm: (n, 3), x, y, z in LPS mm.
        bundle: a run or bundle directory, or an opened one.
        finding_ids: names of the points; default ``point-0``, ...
        findings: what else is known of the points, n rows: ``diameter_mm``, ``kernel``, what a
            stack needs. Its columns come back. Default nothing.
        model: which of the bundle's models; default its first.
        series_uid: which series of a folder with several.
        answering: which threshold, miss rate and prevalence; default the bundle's own.

    Returns:
        The answers; a point outside the scan is a failure, the others go on.

    Raises:
        ScanError: the scan cannot be read.
        DataError: the bundle answers for patches that are not HU.
        ConfigError: no such model, operating point or miss rate.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    chosen = opened.model(model)
    how = chosen_answering(opened, chosen, answering or Answering())
    if opened.values.kind != "hu":
        raise DataError(
            f"{opened.path}: was trained on plain intensities, not on HU, so it cannot answer for "
            f"a CT scan; use it with --patches"
        )
    volume = scan if isinstance(scan, CTVolume) else open_ct(scan, series_uid=series_uid)
    volume.require_hu()
    points = np.asarray(points_lps_mm, dtype=np.float64).reshape(-1, 3)
    ids = (
        list(finding_ids) if finding_ids is not None else [f"point-{i}" for i in range(len(points))]
    )
    kept, failures = _inside(volume, points, ids)
    known = pd.DataFrame(index=range(len(points))) if findings is None else findings
    known = known.reset_index(drop=True).iloc[kept].reset_index(drop=True)
    table = pd.DataFrame(
        {
            "finding_id": [ids[i] for i in kept],
            "scan_id": volume.series_uid,
            "x_lps_mm": points[kept, 0],
            "y_lps_mm": points[kept, 1],
            "z_lps_mm": points[kept, 2],
        }
    )
    own = [c for c in known.columns if c not in (*table.columns, *ANSWER_COLUMNS)]
    table = pd.concat([table, known[own]], axis=1)
    stored = cut_patches(volume, points[kept], opened.spec)
    table, missing = _with_covariates(chosen, table)
    stored = stored[table.index]
    answered = _answer(opened, chosen, how, stored, table.reset_index(drop=True), _geometry(volume))
    warnings = (*volume.warnings, *_warnings(chosen, opened, how))
    return _answers(answered, [*failures, *missing], opened, chosen, how, warnings)


def cut_patches(
    volume: CTVolume, points_lps_mm: npt.NDArray[np.float64], spec: PatchSpec
) -> npt.NDArray[np.int16]:
    """Patches as training's preparation cuts them, without MONAI: int16 (n, *spec.stored_shape).

    Raises:
        PointOutsideScanError: a point lies outside the scan.
    """
    if not len(points_lps_mm):
        return np.empty((0, *spec.stored_shape), dtype=np.int16)
    patches = extract_patches(
        volume,
        points_lps_mm,
        spec.stored_size,
        spec.spacing_xyz_mm,
        form=spec.form,
        interpolation=spec.interpolation,
        outside_hu=spec.outside_hu,
    )
    return Values().to_stored(patches).reshape(len(patches), *spec.stored_shape)


def _inside(
    volume: CTVolume, points: npt.NDArray[np.float64], ids: Sequence[str]
) -> tuple[list[int], list[dict[str, str]]]:
    """Which points lie in the scan, and the failures of the others."""
    kept, failures = [], []
    for number, point in enumerate(points):
        try:
            require_inside(volume, point)
        except NoduleNetError as error:
            failures.append({"what": f"finding {ids[number]}", "error": str(error)})
        else:
            kept.append(number)
    return kept, failures


def _with_covariates(
    model: BundledModel, table: pd.DataFrame
) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """The rows that a stack can answer for, and the failures of those that lack a covariate."""
    if model.stack is None or table.empty:
        return table, []
    lacking = pd.Series("", index=table.index)
    for column in model.stack.columns:
        if column.column not in table.columns:
            # Nobody has it: one error for all.
            stack_covariates(model, table, len(table))
        elif column.missing == "refuse":
            empty = table[column.column].isna() & (lacking == "")
            lacking = lacking.mask(empty, column.column)
    failures = [
        {
            "what": f"finding {name}",
            "error": f"has no {column}, which {model.key} needs; give it, or ask {model.network}",
        }
        for name, column in zip(table["finding_id"], lacking, strict=True)
        if column
    ]
    return table[lacking == ""], failures


def _geometry(volume: CTVolume) -> dict[str, float]:
    """What the envelope asks of a scan, along the patient's axes."""
    along = np.abs(volume.direction) @ np.asarray(volume.spacing_mm)
    return {"spacing_x_mm": float(along[0]), "slice_spacing_mm": float(along[2])}


def classify_patches(
    archive: str | Path,
    table: str | Path,
    bundle: Bundle | str | Path,
    *,
    array: str | None = None,
    columns: Mapping[str, str] | None = None,
    spacing_mm: Sequence[float] | None = None,
    model: str | None = None,
    answering: Answering | None = None,
) -> Answers:
    """Probabilities of patches that are there already: an archive and its table.

    What is not given is read as in the bundle's training, as far as the table has it.

    Args:
        archive: ``.npz`` or ``.npy``, as in training.
        table: CSV, row i belongs to patch i; all its columns come back.
        bundle: a run or bundle directory, or an opened one.
        array: name inside the ``.npz``.
        columns: names of the table's columns by the fields of ``ArchiveColumns``.
        spacing_mm: one spacing (x, y[, z]) for all rows instead of columns.
        model: which of the bundle's models; default its first.
        answering: which threshold, miss rate and prevalence; default the bundle's own.

    Raises:
        StoreError: the archive is absent, damaged or of another shape.
        FindingsError: the table is wrong.
        UsageError: an unknown field in ``columns``.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    chosen = opened.model(model)
    how = chosen_answering(opened, chosen, answering or Answering())
    read = read_patch_archive(
        _source_of(opened, Path(archive), Path(table), array, columns, spacing_mm)
    )
    if not read.gives(opened.spec.form):
        raise DataError(
            f"{archive}: holds {read.form} patches, but {opened.path} was trained on "
            f"{opened.spec.form} ones"
        )
    # Training's own scale: another one would turn equal intensities into other inputs.
    read = replace(read, values=opened.values)
    # MONAI is imported for archives alone, whose patches training cuts with it, too.
    from nodulenet.patches.prepare import cut_patch, preparation

    outside = float(opened.values.to_stored(opened.spec.outside_hu))
    transform = preparation(opened.spec, outside=outside)
    patches = [
        cut_patch(transform, *read.volume(row, opened.spec), opened.spec)
        for row in range(len(read.findings.table))
    ]
    rows = read.findings.table.drop(columns=[*POINT_COLUMNS, "label"])
    rows = rows.drop(columns=[c for c in ANSWER_COLUMNS if c in rows.columns])
    stored = np.stack(patches) if patches else np.empty((0, *opened.spec.stored_shape), np.int16)
    rows, missing = _with_covariates(chosen, rows.reset_index(drop=True))
    stored = stored[rows.index]
    answered = _answer(opened, chosen, how, stored, rows.reset_index(drop=True), {})
    warnings = _warnings(chosen, opened, how)
    return _answers(answered, missing, opened, chosen, how, warnings)


def _source_of(
    bundle: Bundle,
    archive: Path,
    table: Path,
    array: str | None,
    columns: Mapping[str, str] | None,
    spacing_mm: Sequence[float] | None,
) -> PatchArchiveSource:
    """The archive as training would read it, changed by what was given."""
    trained = bundle.training.get("columns") or {}
    there = set(read_csv(table).columns)
    known = {k: v for k, v in trained.items() if v in there and k != "label"}
    if not set(_PLACE_FIELDS) <= {*known, *(columns or {})}:  # they mean something only together
        known = {k: v for k, v in known.items() if k not in _PLACE_FIELDS}
    if spacing_mm:  # given for all rows, it stands against the columns of the training
        known = {k: v for k, v in known.items() if not k.startswith("spacing_")}
    default_spacing = bundle.training.get("spacing_mm")
    if isinstance(default_spacing, float):  # MedMNIST: one number for all axes
        default_spacing = [default_spacing] * len(bundle.spec.size)
    try:
        return PatchArchiveSource.model_validate(
            {
                "kind": "patches",
                "archive": archive,
                "array": array or _trained_array(archive, bundle),
                "table": table,
                "columns": {"patient_id": None, **known, **(columns or {})},
                "spacing_mm": spacing_mm or default_spacing,
                "value_kind": bundle.values.kind,
                "beyond": bundle.training.get("beyond", "fill"),
            }
        )
    except ValidationError as error:
        wrong = error.errors()[0]["loc"][-1]
        raise UsageError(
            f"{wrong}: is no field of the table's columns, or no positive spacing; columns are "
            f"{', '.join(ArchiveColumns.model_fields)}"
        ) from None


def _trained_array(archive: Path, bundle: Bundle) -> str | None:
    """Training's array name, where the archive has an array of that name."""
    name = bundle.training.get("array")
    return name if name and archive.suffix == ".npz" and has_array(archive, name) else None


def _answers(
    table: pd.DataFrame,
    failures: list[dict[str, str]],
    bundle: Bundle,
    model: BundledModel,
    how: Chosen,
    warnings: tuple[str, ...],
) -> Answers:
    return Answers(
        table=table,
        failures=failures,
        meaning=bundle.meaning,
        prevalence=bundle.prevalence if how.prevalence is None else how.prevalence,
        model=model.key,
        label_meaning=bundle.label_meaning,
        class_names=MEANINGS[bundle.label_meaning].class_names,
        bundle={"name": bundle.name, "hash": bundle.hash, **bundle.facts},
        operating_point=how.operating_point,
        miss_rate=how.conformal.miss_rate if how.conformal else None,
        warnings=warnings,
    )


def _warnings(model: BundledModel, bundle: Bundle, how: Chosen) -> tuple[str, ...]:
    if model.calibration is None:
        return (
            f"{model.key} of {bundle.path} is not calibrated: its out-of-fold predictions do not "
            f"rise with the label, so its answers mean nothing",
        )
    if how.prevalence is not None:
        return (
            f"probabilities are re-based from the training's prevalence of "
            f"{bundle.prevalence:.3g} to {how.prevalence:.3g}, as if nothing else differed",
        )
    return ()


def _answer(
    bundle: Bundle,
    model: BundledModel,
    how: Chosen,
    stored: npt.NDArray[np.int16],
    table: pd.DataFrame,
    geometry: Mapping[str, float],
) -> pd.DataFrame:
    """The rows with their answers; ``geometry`` is what is known of all of them."""
    raw = bundle.ask(stored, model.key, findings=table)
    mean = raw.by_fold.mean(axis=0)

    def calibrated(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return model.calibration.apply(probability) if model.calibration else probability

    def based(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if how.prevalence is None:
            return probability
        return rebased(probability, trained=bundle.prevalence, wanted=how.prevalence)

    probability = calibrated(mean)
    answered = table.assign(
        probability=based(probability),
        probability_raw=mean,
        fold_low=based(calibrated(raw.by_fold.min(axis=0))),
        fold_high=based(calibrated(raw.by_fold.max(axis=0))),
    )
    names = MEANINGS[bundle.label_meaning].class_names
    if how.operating_point is not None:
        # A threshold belongs to the training's scale, whatever prevalence is shown.
        above = probability >= how.operating_point.threshold
        answered["call"] = np.where(above, names[1], names[0]).astype(object)
    if how.conformal is not None:
        negative, positive = how.conformal.sets(mean)
        answered["conformal"] = np.select(
            [negative & positive, positive], [INDETERMINATE, names[1]], names[0]
        ).astype(object)
    known = table.assign(**{k: v for k, v in geometry.items() if k not in table.columns})
    said = finding_warnings(bundle, model, stored, known, raw.strangeness)
    return answered.assign(warnings=["; ".join(texts) for texts in said])
