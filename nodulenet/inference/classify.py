"""Findings in a scan, or patches that are there already: calibrated probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from nodulenet.config.schema import ArchiveColumns, PatchArchiveSource
from nodulenet.ct import CTVolume, open_ct
from nodulenet.errors import DataError, UsageError
from nodulenet.findings.patients import unnamed_patients
from nodulenet.findings.reading import read_csv
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.inference.answer import answer_cuts
from nodulenet.inference.answering import Answering, chosen_answering
from nodulenet.inference.answers import ANSWER_COLUMNS, Answers
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.cutting import cut_of_patches, cut_scan
from nodulenet.patches.archive import has_array, read_patch_archive

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
    keep_ids: bool = False,
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
        keep_ids: leave ``patient_id`` of ``findings`` as it is; default a pseudonym by this user's
            key (:mod:`nodulenet.privacy`).

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
    refuse_plain_intensities(opened)
    volume = scan if isinstance(scan, CTVolume) else open_ct(scan, series_uid=series_uid)
    points = np.asarray(points_lps_mm, dtype=np.float64).reshape(-1, 3)
    names = (
        list(finding_ids) if finding_ids is not None else [f"point-{i}" for i in range(len(points))]
    )
    known = None if findings is None else unnamed_patients(findings, keep_ids=keep_ids).table
    cut = cut_scan(volume, points, names, known, opened.spec, chosen)
    return answer_cuts(opened, chosen, how, [cut])[0]


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
    keep_ids: bool = False,
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
        keep_ids: leave ``patient_id`` as it is; default a pseudonym by this user's key.

    Raises:
        StoreError: the archive is absent, damaged or of another shape.
        FindingsError: the table is wrong.
        UsageError: an unknown field in ``columns``.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    chosen = opened.model(model)
    how = chosen_answering(opened, chosen, answering or Answering())
    read = read_patch_archive(
        _source_of(opened, Path(archive), Path(table), array, columns, spacing_mm, keep_ids)
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
    cut = cut_of_patches(stored, rows.reset_index(drop=True), chosen)
    return answer_cuts(opened, chosen, how, [cut])[0]


def refuse_plain_intensities(bundle: Bundle) -> None:
    """Refuses a bundle that cannot answer for a CT scan.

    Raises:
        DataError: it was trained on plain intensities.
    """
    if bundle.values.kind != "hu":
        raise DataError(
            f"{bundle.path}: was trained on plain intensities, not on HU, so it cannot answer for "
            f"a CT scan; use it with --patches"
        )


def _source_of(
    bundle: Bundle,
    archive: Path,
    table: Path,
    array: str | None,
    columns: Mapping[str, str] | None,
    spacing_mm: Sequence[float] | None,
    keep_ids: bool,
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
                "keep_ids": keep_ids,
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
