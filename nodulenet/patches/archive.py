"""Labelled patches that someone already has: an array and a table, or a MedMNIST archive.

They enter through the same door as scans: every patch becomes a small :class:`CTVolume` whose
point is its centre, so the same transform resamples it to the configured spacing and size in
millimetres is kept. Volumes of differing shapes lie one after the other in a flat array, and the
table says where each begins.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import ArchiveColumns, MedMnistSource, PatchArchiveSource
from nodulenet.ct import CTVolume
from nodulenet.ct.patch import plane_shapes
from nodulenet.errors import FindingsError, StoreError
from nodulenet.findings.labels import keep_rating
from nodulenet.findings.patients import unnamed_patients
from nodulenet.findings.reading import read_csv, refuse_rows
from nodulenet.findings.table import POINT_COLUMNS, Findings, validate_findings
from nodulenet.patches.values import Values

MEDMNIST_PARTS = ("train", "val", "test")

Beyond = Literal["fill", "edge", "reflect"]

# Voxels around a window that a B-spline sees: what is cut off weighs 0.268^12 = 1e-7.
_SPLINE_REACH = 12
# Voxels of a flat array that are hashed at a time.
_HASHED_AT_ONCE = 2**24


@dataclass(frozen=True)
class PatchArchive:
    """Patches in memory or on disk, row by row with their findings.

    Attributes:
        findings: the rows; points are NaN, because nobody says where in a scan they lie.
        array: (rows, y, x), (rows, z, y, x), or (voxels,) of volumes one after the other; any real
            dtype, the source's own values.
        spacing_mm: (rows, 3) float64, x, y, z; z is 1 for 2D patches.
        values: how the values go into the store.
        content_hash: of array, places and spacings.
        places: (rows, 4) int64 for a flat array: first voxel, nz, ny, nx. Else None.
        beyond: what lies beyond a patch: nothing (the preparation fills it), its outermost voxels
            repeated, or its mirror image.
    """

    findings: Findings
    array: npt.NDArray[Any]
    spacing_mm: npt.NDArray[np.float64]
    values: Values
    content_hash: str
    places: npt.NDArray[np.int64] | None = None
    beyond: Beyond = "fill"

    @property
    def form(self) -> str:
        """``"2d"`` or ``"3d"``."""
        return "2d" if self.array.ndim == 3 else "3d"

    def gives(self, form: str) -> bool:
        """Whether patches of that form can be cut from these: planes from volumes, too."""
        return form == "2d" or self.form == "3d"

    def voxels(self, row: int) -> npt.NDArray[Any]:
        """Patch ``row`` as it is in the source: (y, x) or (z, y, x)."""
        if self.places is None:
            return np.asarray(self.array[row])
        offset, *shape = (int(n) for n in self.places[row])
        return np.asarray(self.array[offset : offset + math.prod(shape)]).reshape(shape)

    def volume(self, row: int, spec: PatchSpec) -> tuple[CTVolume, npt.NDArray[np.float64]]:
        """Patch ``row`` in stored values as a volume, and its centre in its own LPS mm (3,).

        Where ``beyond`` says what lies beyond the patch, the volume is as much larger on every side
        as a stored patch of ``spec`` reaches farther.
        """
        stored = self.values.to_stored(self.voxels(row))
        zyx = stored[np.newaxis] if stored.ndim == 2 else stored
        if self.beyond != "fill":
            zyx = np.pad(zyx, self._missing_voxels(zyx.shape, row, spec), self.beyond)
        spacing = tuple(float(s) for s in self.spacing_mm[row])
        volume = CTVolume.from_array(zyx, spacing_mm=spacing, series_uid=f"patch {row}")
        centre = (np.array(zyx.shape[::-1]) - 1) / 2 * self.spacing_mm[row]
        return volume, centre

    def rows(self, start: int, stop: int) -> PatchArchive:
        """These rows alone, with their own voxels: what a worker process is given."""
        chosen = range(start, min(stop, len(self.spacing_mm)))
        places = None
        if self.places is None:
            array = np.asarray(self.array[start:stop])
        else:
            array = np.concatenate([self.voxels(row).ravel() for row in chosen])
            places = self.places[start:stop].copy()
            places[:, 0] = np.cumsum([0, *places[:, 1:].prod(axis=1)])[:-1]
        return replace(
            self,
            findings=replace(self.findings, table=self.findings.table.iloc[start:stop]),
            array=array,
            spacing_mm=self.spacing_mm[start:stop],
            places=places,
        )

    def extent_z_mm(self) -> npt.NDArray[np.float64]:
        """How far each volume reaches along z, slice thickness included: (rows,)."""
        slices = self.array.shape[1] if self.places is None else self.places[:, 1]
        return slices * self.spacing_mm[:, 2]

    def _missing_voxels(
        self, shape: tuple[int, ...], row: int, spec: PatchSpec
    ) -> list[tuple[int, int]]:
        """Voxels along z, y, x that a stored patch reaches beyond an archived one, on both sides.

        Alike on both sides, so that the centre stays the centre.
        """
        shapes = np.array(plane_shapes(spec.stored_size, spec.form))
        spacing_zyx = np.array(spec.spacing_xyz_mm[::-1])
        reach_mm = (shapes.max(axis=0) - 1) / 2 * spacing_zyx
        reach = reach_mm / self.spacing_mm[row][::-1] - (np.array(shape) - 1) / 2
        if spec.interpolation == "bspline":
            reach = reach + _SPLINE_REACH
        return [(int(n), int(n)) for n in np.maximum(np.ceil(reach), 0)]


def read_patch_archive(source: PatchArchiveSource) -> PatchArchive:
    """An ``.npz`` or ``.npy`` of patches with its CSV.

    Patients get pseudonyms unless ``source.keep_ids``.

    Raises:
        StoreError: the array is absent, damaged, or its rows are not those of the table.
        FindingsError: the table is wrong.
    """
    columns = source.columns
    flat = columns.offset is not None
    array = load_patches(source.archive, source.array, flat=flat)
    table = _read_table(source.table, columns)
    if not flat and len(table) != len(array):
        raise StoreError(
            f"{source.archive}: holds {len(array)} patches, but {source.table} has {len(table)} "
            f"rows; row i must belong to patch i"
        )
    places = _places(source, table, len(array)) if flat else None
    spacing = _row_spacings(source, table, is_3d=array.ndim != 3)
    rows = np.arange(len(table))
    notes: list[str] = []
    findings = table.assign(
        finding_id=table[columns.finding_id] if columns.finding_id else [f"row-{r}" for r in rows],
        **dict.fromkeys(POINT_COLUMNS, np.nan),
    )
    if columns.patient_id:
        if columns.patient_id != "finding_id":
            # Under its own name the column would stay beside its pseudonyms.
            findings = findings.drop(columns=columns.patient_id)
        findings["patient_id"] = table[columns.patient_id]
    unnamed = unnamed_patients(findings, keep_ids=source.keep_ids)
    findings, originals = unnamed.table.copy(), unnamed.originals
    notes.extend(unnamed.notes)
    if columns.patient_id:
        if columns.finding_id == columns.patient_id:
            findings["finding_id"] = findings["patient_id"]
    else:
        findings["patient_id"] = findings["finding_id"]
        notes.append("no patient column: every row counts as a patient of its own")
    named_by_scan = columns.scan_id not in (None, columns.patient_id)
    findings["scan_id"] = table[columns.scan_id] if named_by_scan else findings["patient_id"]
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
        Findings(
            validate_findings(findings, str(source.table), points=False),
            notes=tuple(notes),
            originals=originals,
        ),
        array,
        spacing,
        values,
        _hash(array, spacing, places),
        places,
        source.beyond,
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


def load_patches(file: Path, name: str | None, *, flat: bool = False) -> npt.NDArray[Any]:
    """The array (rows, y, x) or (rows, z, y, x) of an ``.npy`` or ``.npz``; no pickles.

    With ``flat`` (voxels,) of volumes of differing shapes.

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
    if flat:
        _refuse_no_flat_array(file, array)
    else:
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
        if array.ndim == 1:
            hint = "; volumes one after the other need source.columns.offset, nz, ny and nx"
        raise StoreError(
            f"{file}: the array has shape {array.shape}, expected (rows, y, x) or "
            f"(rows, z, y, x) with at least one row{hint}"
        )
    _refuse_dtype(file, array)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
        raise StoreError(f"{file}: patch {row} holds NaN or infinity; expected finite values")


def _refuse_no_flat_array(file: Path, array: npt.NDArray[Any]) -> None:
    if array.ndim != 1 or len(array) == 0:
        raise StoreError(
            f"{file}: the array has shape {array.shape}, expected one axis (voxels,), because "
            f"columns.offset says where each volume begins; name another array, or leave offset, "
            f"nz, ny and nx out"
        )
    _refuse_dtype(file, array)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        voxel = int(np.flatnonzero(~np.isfinite(array))[0])
        raise StoreError(f"{file}: voxel {voxel} is NaN or infinity; expected finite values")


def _refuse_dtype(file: Path, array: npt.NDArray[Any]) -> None:
    if array.dtype.kind not in "biuf":
        raise StoreError(f"{file}: the array has dtype {array.dtype}, expected real numbers")


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
    numbers = [*spacings, *_place_columns(columns)]
    table = read_csv(file, optional, numbers=numbers, ids=ids, optional_numbers=optional)
    for column in spacings:
        refuse_rows(file, table, column, table[column] <= 0, "a spacing above 0 mm")
    if columns.diameter_mm:
        wrong = table[columns.diameter_mm] <= 0
        refuse_rows(file, table, columns.diameter_mm, wrong, "a diameter above 0 mm, or nothing")
    return table


def _place_columns(columns: ArchiveColumns) -> list[str]:
    return [c for c in (columns.offset, columns.nz, columns.ny, columns.nx) if c]


def _places(source: PatchArchiveSource, table: pd.DataFrame, voxels: int) -> npt.NDArray[np.int64]:
    """First voxel and shape (z, y, x) of every row's volume in the flat array: (rows, 4)."""
    names = _place_columns(source.columns)
    for name, lowest in zip(names, (0, 1, 1, 1), strict=True):
        wrong = (table[name] < lowest) | (table[name] % 1 != 0)
        refuse_rows(source.table, table, name, wrong, f"a whole number from {lowest}")
    # As float64, which does not wrap round where a size is nonsense.
    last = table[names[0]] + table[names[1:]].prod(axis=1)
    refuse_rows(
        source.table,
        table,
        names[0],
        last > voxels,
        f"{' * '.join(names[1:])} voxels from there within the {voxels} of {source.archive.name}",
    )
    table[names] = table[names].astype(np.int64)
    return table[names].to_numpy()


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


def _hash(
    array: npt.NDArray[Any],
    spacing: npt.NDArray[np.float64],
    places: npt.NDArray[np.int64] | None = None,
) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{array.shape}{array.dtype}".encode())
    if places is None:
        pieces = iter(array)
    else:
        starts = range(0, len(array), _HASHED_AT_ONCE)
        pieces = (array[start : start + _HASHED_AT_ONCE] for start in starts)
        digest.update(places.tobytes())
    for piece in pieces:
        digest.update(np.ascontiguousarray(piece).tobytes())
    digest.update(np.ascontiguousarray(spacing).tobytes())
    return digest.hexdigest()
