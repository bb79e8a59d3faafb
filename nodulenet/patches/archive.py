"""Labelled patches that someone already has: an array and a table, or a MedMNIST archive.

They enter through the same door as scans: every patch becomes a small :class:`CTVolume` whose
point is its centre, so the same transform resamples it to the configured spacing and size in
millimetres is kept.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.schema import ArchiveColumns, MedMnistSource, PatchArchiveSource
from nodulenet.ct import CTVolume
from nodulenet.errors import FindingsError, StoreError
from nodulenet.findings.labels import keep_rating
from nodulenet.findings.reading import read_csv, refuse_rows
from nodulenet.findings.table import POINT_COLUMNS, Findings, validate_findings
from nodulenet.patches.values import Values

MEDMNIST_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class PatchArchive:
    """Patches in memory or on disk, row by row with their findings.

    Attributes:
        findings: the rows; points are NaN, because nobody says where in a scan they lie.
        array: (rows, y, x) or (rows, z, y, x), any real dtype, the source's own values.
        spacing_mm: (rows, 3) float64, x, y, z; z is 1 for 2D patches.
        values: how the values go into the store.
        content_hash: of array and spacings.
    """

    findings: Findings
    array: npt.NDArray[Any]
    spacing_mm: npt.NDArray[np.float64]
    values: Values
    content_hash: str

    @property
    def form(self) -> str:
        """``"2d"`` or ``"3d"``."""
        return "2d" if self.array.ndim == 3 else "3d"

    def volume(self, row: int) -> tuple[CTVolume, npt.NDArray[np.float64]]:
        """Patch ``row`` in stored values as a volume, and its centre in its own LPS mm (3,)."""
        stored = self.values.to_stored(self.array[row])
        zyx = stored[np.newaxis] if stored.ndim == 2 else stored
        spacing = tuple(float(s) for s in self.spacing_mm[row])
        volume = CTVolume.from_array(zyx, spacing_mm=spacing, series_uid=f"patch {row}")
        centre = (np.array(zyx.shape[::-1]) - 1) / 2 * self.spacing_mm[row]
        return volume, centre


def read_patch_archive(source: PatchArchiveSource) -> PatchArchive:
    """An ``.npz`` or ``.npy`` of patches with its CSV.

    Raises:
        StoreError: the array is absent, damaged, or its rows are not those of the table.
        FindingsError: the table is wrong.
    """
    array = load_patches(source.archive, source.array)
    columns = source.columns
    table = _read_table(source.table, columns)
    if len(table) != len(array):
        raise StoreError(
            f"{source.archive}: holds {len(array)} patches, but {source.table} has {len(table)} "
            f"rows; row i must belong to patch i"
        )
    spacing = _row_spacings(source, table, is_3d=array.ndim == 4)
    rows = np.arange(len(table))
    notes: list[str] = []
    findings = table.assign(
        finding_id=table[columns.finding_id] if columns.finding_id else [f"row-{r}" for r in rows],
        **dict.fromkeys(POINT_COLUMNS, np.nan),
    )
    if columns.patient_id:
        findings["patient_id"] = table[columns.patient_id]
    else:
        findings["patient_id"] = findings["finding_id"]
        notes.append("no patient column: every row counts as a patient of its own")
    findings["scan_id"] = table[columns.scan_id] if columns.scan_id else findings["patient_id"]
    if columns.diameter_mm:
        findings["diameter_mm"] = table[columns.diameter_mm]
    else:
        # A column that was not declared may hold anything.
        findings = findings.drop(columns="diameter_mm", errors="ignore")
    if columns.label:
        refuse_rows(
            source.table,
            table,
            columns.label,
            ~table[columns.label].isin([0, 1]) & table[columns.label].notna(),
            "0 or 1 (a rating needs a label_rule instead of columns.label)",
        )
        findings["label"] = table[columns.label]
    findings = keep_rating(findings, declared=columns.label is not None)
    values = Values("hu") if source.value_kind == "hu" else Values.of_intensities(array)
    if source.value_kind == "hu":
        _refuse_impossible_hu(source.archive, array)
    return PatchArchive(
        Findings(validate_findings(findings, str(source.table), points=False), notes=tuple(notes)),
        array,
        spacing,
        values,
        _hash(array, spacing),
    )


def read_medmnist(source: MedMnistSource) -> PatchArchive:
    """A MedMNIST archive: its three parts one after another, column ``part`` says which.

    Labels must be 0 or 1. MedMNIST has no patient ids: every image counts as a patient of its
    own, which the notes say. Yang et al., "MedMNIST v2", Scientific Data 10:41, 2023.
    """
    images, labels, parts = [], [], []
    with _open_npz(source.archive) as archive:
        for part in MEDMNIST_PARTS:
            names = f"{part}_images", f"{part}_labels"
            missing = [n for n in names if n not in archive.files]
            if missing:
                raise StoreError(
                    f"{source.archive}: has no array {missing[0]!r}; found "
                    f"{', '.join(archive.files)}; expected the MedMNIST layout"
                )
            image, label = (_member(source.archive, archive, name) for name in names)
            if len(image) != len(label):
                raise StoreError(
                    f"{source.archive}: {names[0]} has {len(image)} rows, {names[1]} {len(label)}"
                )
            images.append(image)
            labels.append(label.reshape(len(label), -1))
            parts.extend([part] * len(image))
    array, label_array = np.concatenate(images), np.concatenate(labels)
    _refuse_shape(source.archive, array)
    if label_array.shape[1] != 1 or not np.isin(label_array, [0, 1]).all():
        raise FindingsError(
            f"{source.archive}: labels have {label_array.shape[1]} columns with values "
            f"{np.unique(label_array)[:5].tolist()}; expected one column of 0 and 1"
        )
    ids = [f"{part}-{i}" for i, part in enumerate(parts)]
    table = pd.DataFrame(
        {
            "finding_id": ids,
            "scan_id": ids,
            "patient_id": ids,
            **dict.fromkeys(POINT_COLUMNS, np.nan),
            "label": label_array[:, 0].astype(int),
            "part": parts,
        }
    )
    note = "MedMNIST has no patient ids: every image counts as a patient of its own"
    z_spacing = source.spacing_mm if array.ndim == 4 else 1.0
    spacing = np.tile([source.spacing_mm, source.spacing_mm, z_spacing], (len(array), 1))
    return PatchArchive(
        Findings(validate_findings(table, str(source.archive), points=False), notes=(note,)),
        array,
        spacing,
        Values.of_intensities(array),
        _hash(array, spacing),
    )


def load_patches(file: Path, name: str | None) -> npt.NDArray[Any]:
    """The array (rows, y, x) or (rows, z, y, x) of an ``.npy`` or ``.npz``; no pickles.

    Raises:
        StoreError: no such file or array, damaged, an object array, or another shape.
    """
    if file.suffix == ".npy":
        if not file.is_file():
            raise StoreError(f"{file}: there is no such file; expected an .npz or .npy of patches")
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise StoreError(f"{file}: is no readable .npy array ({error})") from error
    else:
        with _open_npz(file) as archive:
            if name is None and len(archive.files) != 1:
                raise StoreError(
                    f"{file}: holds the arrays {', '.join(archive.files)}; say which one has the "
                    f"patches (source.array, or --array)"
                )
            name = name or archive.files[0]
            if name not in archive.files:
                raise StoreError(f"{file}: has no array {name!r}; found {', '.join(archive.files)}")
            array = _member(file, archive, name)
    _refuse_shape(file, array)
    return array


def has_array(file: Path, name: str) -> bool:
    """Whether an ``.npz`` has an array of that name."""
    with _open_npz(file) as archive:
        return name in archive.files


def _open_npz(file: Path) -> Any:
    if not file.is_file():
        raise StoreError(f"{file}: there is no such file; expected an .npz or .npy of patches")
    try:
        archive = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        # NumPy's own text about unsafe loading is no advice for anybody.
        raise StoreError(f"{file}: is no readable .npz archive of plain arrays") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise StoreError(f"{file}: is no .npz archive; name a plain array .npy")
    return archive


def _member(file: Path, archive: Any, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(archive[name])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{file}: array {name!r} cannot be read ({error})") from error


def _refuse_shape(file: Path, array: npt.NDArray[Any]) -> None:
    if array.ndim not in (3, 4) or array.shape[-1] < 5 or len(array) == 0:
        hint = "; convert colour images to grey" if array.shape[-1:] in ((3,), (4,)) else ""
        raise StoreError(
            f"{file}: the array has shape {array.shape}, expected (rows, y, x) or "
            f"(rows, z, y, x) with at least one row{hint}"
        )
    if array.dtype.kind not in "biuf":
        raise StoreError(f"{file}: the array has dtype {array.dtype}, expected real numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
        raise StoreError(f"{file}: patch {row} holds NaN or infinity; expected finite values")


def _refuse_impossible_hu(file: Path, array: npt.NDArray[Any]) -> None:
    """0..255 or 0..1 declared as HU would be windowed into nonsense without a word."""
    low, high = float(array.min()), float(array.max())
    if low >= -200:
        raise StoreError(
            f"{file}: values lie in {low:g}..{high:g}, which cannot be HU (a lung has air near "
            f"-850); set source.value_kind=intensity and patch.windows=[[{low:g}, {high:g}]]"
        )


def _read_table(file: Path, columns: ArchiveColumns) -> pd.DataFrame:
    ids = [c for c in (columns.patient_id, columns.finding_id, columns.scan_id) if c]
    spacings = [c for c in (columns.spacing_x_mm, columns.spacing_y_mm, columns.spacing_z_mm) if c]
    optional = [c for c in (columns.diameter_mm, columns.label) if c]
    table = read_csv(file, optional, numbers=spacings, ids=ids, optional_numbers=optional)
    for column in spacings:
        refuse_rows(file, table, column, table[column] <= 0, "a spacing above 0 mm")
    if columns.diameter_mm:
        wrong = table[columns.diameter_mm] <= 0
        refuse_rows(file, table, columns.diameter_mm, wrong, "a diameter above 0 mm, or nothing")
    return table


def _row_spacings(
    source: PatchArchiveSource, table: pd.DataFrame, *, is_3d: bool
) -> npt.NDArray[np.float64]:
    columns = source.columns
    names = [columns.spacing_x_mm, columns.spacing_y_mm]
    if is_3d:
        names.append(columns.spacing_z_mm)
    if all(names):
        spacing = table[[n for n in names if n]].to_numpy(dtype=float)
    elif source.spacing_mm is not None and len(source.spacing_mm) == len(names):
        spacing = np.tile(np.asarray(source.spacing_mm, dtype=float), (len(table), 1))
    else:
        raise StoreError(
            f"{source.archive}: the spacing of the patches is not known; name "
            f"source.columns.spacing_x_mm, spacing_y_mm{', spacing_z_mm' if is_3d else ''}, or "
            f"give source.spacing_mm with {len(names)} numbers (classify: --column "
            f"spacing_x_mm=NAME ..., or --spacing)"
        )
    return spacing if is_3d else np.column_stack([spacing, np.ones(len(table))])


def _hash(array: npt.NDArray[Any], spacing: npt.NDArray[np.float64]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{array.shape}{array.dtype}".encode())
    for row in array:
        digest.update(np.ascontiguousarray(row).tobytes())
    digest.update(np.ascontiguousarray(spacing).tobytes())
    return digest.hexdigest()
