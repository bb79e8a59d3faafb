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
from nodulenet.config.schema import ArchiveColumns, PatchArchiveSource
from nodulenet.ct import CTVolume, open_ct
from nodulenet.errors import DataError, NoduleNetError, UsageError
from nodulenet.findings.reading import read_csv
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.inference.answers import Answers
from nodulenet.inference.bundle import Bundle, BundledModel
from nodulenet.patches.archive import has_array, read_patch_archive
from nodulenet.patches.prepare import cut_patch, preparation

# A patch whose middle half is nearly all air holds no nodule that could be judged.
AIR_HU = -900
MOSTLY_AIR = 0.95
_PLACE_FIELDS = ("offset", "nz", "ny", "nx")


def classify(
    scan: str | Path | CTVolume,
    points_lps_mm: npt.ArrayLike,
    bundle: Bundle | str | Path,
    *,
    finding_ids: Sequence[str] | None = None,
    model: str | None = None,
    series_uid: str | None = None,
) -> Answers:
    """Probabilities at points of a scan.

    Args:
        scan: a path that :func:`nodulenet.ct.open_ct` reads, or an opened scan.
        points_lps_mm: (n, 3), x, y, z in LPS mm.
        bundle: a run or bundle directory, or an opened one.
        finding_ids: names of the points; default ``point-0``, ...
        model: which of the bundle's models; default its first.
        series_uid: which series of a folder with several.

    Returns:
        The answers; a point outside the scan is a failure, the others go on.

    Raises:
        ScanError: the scan cannot be read.
        DataError: the bundle answers for patches that are not HU.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    chosen = opened.model(model)
    if opened.values.kind != "hu":
        raise DataError(
            f"{opened.path}: was trained on plain intensities, not on HU, so it cannot answer for "
            f"a CT scan; use it with --patches"
        )
    volume = scan if isinstance(scan, CTVolume) else open_ct(scan, series_uid=series_uid)
    points = np.atleast_2d(np.asarray(points_lps_mm, dtype=np.float64))
    ids = (
        list(finding_ids) if finding_ids is not None else [f"point-{i}" for i in range(len(points))]
    )
    transform = preparation(opened.spec)
    patches: list[npt.NDArray[np.int16]] = []
    kept: list[int] = []
    failures: list[dict[str, str]] = []
    for i, point in enumerate(points):
        try:
            patches.append(cut_patch(transform, volume, point, opened.spec))
            kept.append(i)
        except NoduleNetError as error:
            failures.append({"what": f"finding {ids[i]}", "error": str(error)})
    table = pd.DataFrame(
        {
            "finding_id": [ids[i] for i in kept],
            "scan_id": volume.series_uid,
            "x_lps_mm": points[kept, 0],
            "y_lps_mm": points[kept, 1],
            "z_lps_mm": points[kept, 2],
        }
    )
    answered = _answer(opened, chosen, patches, table)
    warnings = (*volume.warnings, *_warnings(chosen, opened))
    return _answers(answered, failures, opened, chosen, warnings)


def classify_patches(
    archive: str | Path,
    table: str | Path,
    bundle: Bundle | str | Path,
    *,
    array: str | None = None,
    columns: Mapping[str, str] | None = None,
    spacing_mm: Sequence[float] | None = None,
    model: str | None = None,
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

    Raises:
        StoreError: the archive is absent, damaged or of another shape.
        FindingsError: the table is wrong.
        UsageError: an unknown field in ``columns``.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    chosen = opened.model(model)
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
    outside = float(opened.values.to_stored(opened.spec.outside_hu))
    transform = preparation(opened.spec, outside=outside)
    patches = [
        cut_patch(transform, *read.volume(row, opened.spec), opened.spec)
        for row in range(len(read.findings.table))
    ]
    rows = read.findings.table.drop(columns=[*POINT_COLUMNS, "label"])
    answered = _answer(opened, chosen, patches, rows)
    return _answers(answered, [], opened, chosen, _warnings(chosen, opened))


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
    warnings: tuple[str, ...],
) -> Answers:
    return Answers(
        table=table,
        failures=failures,
        meaning=bundle.meaning,
        prevalence=bundle.prevalence,
        model=model.key,
        label_meaning=bundle.label_meaning,
        class_names=MEANINGS[bundle.label_meaning].class_names,
        bundle={"name": bundle.name, "hash": bundle.hash},
        warnings=warnings,
    )


def _warnings(model: BundledModel, bundle: Bundle) -> tuple[str, ...]:
    if model.calibration is None:
        return (
            f"{model.key} of {bundle.path} is not calibrated: its out-of-fold predictions do not "
            f"rise with the label, so its answers mean nothing",
        )
    return ()


def _answer(
    bundle: Bundle, model: BundledModel, patches: list[npt.NDArray[np.int16]], table: pd.DataFrame
) -> pd.DataFrame:
    if not patches:
        return table.assign(
            probability=[], probability_raw=[], fold_low=[], fold_high=[], warnings=[]
        )
    stored = np.stack(patches)
    by_fold = bundle.predict(stored, model.key)
    raw = by_fold.mean(axis=0)
    calibration = model.calibration
    is_hu = bundle.values.kind == "hu"
    return table.assign(
        probability=calibration.apply(raw) if calibration else raw,
        probability_raw=raw,
        fold_low=by_fold.min(axis=0),
        fold_high=by_fold.max(axis=0),
        warnings=["; ".join(_patch_warnings(p)) if is_hu else "" for p in stored],
    )


def _patch_warnings(patch: npt.NDArray[np.int16]) -> list[str]:
    middle = patch[tuple(slice(n // 4, n - n // 4) if n > 4 else slice(None) for n in patch.shape)]
    air = float((middle < AIR_HU).mean())
    if air > MOSTLY_AIR:
        return [f"{air:.0%} of the middle of the patch is air; check the point"]
    return []
