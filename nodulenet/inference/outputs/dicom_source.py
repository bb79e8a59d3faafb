"""The CT series that an answer is about, as the DICOM outputs refer to it.

Patient and study are taken over from it, and its images are the evidence. Where the scan was read
from another format, its DICOM original is compared with it first: an answer must not reach the
record of another patient.
"""

from __future__ import annotations

import os
import string
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset

from nodulenet.ct import CTVolume, open_ct
from nodulenet.ct.dicom import list_series, series_files
from nodulenet.ct.dicom_file import DicomFile
from nodulenet.ct.dicom_header import PARSE_ERRORS
from nodulenet.ct.open import check_path
from nodulenet.ct.sources import one_line
from nodulenet.errors import GeometryError, ScanError, UsageError

CORNER_TOLERANCE_MM = 0.1
"""Largest distance of corresponding corners of a scan and its DICOM original. The float32 numbers
of a NIfTI header are off by less than 0.001 mm, rounded slice positions by up to 0.05 mm."""

HU_TOLERANCE = 1
"""Largest difference of a voxel that counts as equal (conversions round)."""

LEAST_EQUAL_SHARE = 0.99
"""Share of voxels that must be equal. Another kernel of the same acquisition has nearly none."""

_SAMENESS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "PatientName",
)
_SHARED = {
    "StudyInstanceUID": "study",
    "FrameOfReferenceUID": "frame of reference",
    "PatientID": "patient",
    "PatientName": "patient",
}
_LONGEST_UID = 64


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """What DICOM outputs need of the series they are about.

    Attributes:
        path: where it lies.
        header: all of its first image (by instance number) but the pixels.
        instances: SOP class and SOP instance UID of each image; one for a multi-frame series.
    """

    path: str
    header: Dataset
    instances: tuple[tuple[str, str], ...]

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.path}: series {self.series_uid}"

    @property
    def study_uid(self) -> str:
        return str(self.header.StudyInstanceUID)

    @property
    def series_uid(self) -> str:
        return str(self.header.SeriesInstanceUID)

    @property
    def frame_of_reference_uid(self) -> str:
        """In which points of the scan are meant.

        Raises:
            ScanError: the series has none.
        """
        uid = str(self.header.get("FrameOfReferenceUID", "") or "")
        if not is_uid(uid):
            raise ScanError(
                f"{self.where}: has no Frame of Reference UID (0020,0052), so a point in it means "
                "nothing elsewhere; expected a series with one; export it again from the archive, "
                "or write another format"
            )
        return uid


def source_of(volume: CTVolume) -> SourceSeries:
    """The series that a volume was opened from.

    Raises:
        UsageError: the volume does not come from DICOM.
        ScanError: as :func:`read_source_series`.
    """
    if volume.format != "dicom" or volume.source is None:
        raise UsageError(
            f"{volume.source or volume.series_uid}: is {volume.format}, which knows no patient and "
            "no study; DICOM outputs need the scan's DICOM original; give it with "
            "--reference-dicom DIR"
        )
    return read_source_series(volume.source, volume.series_uid)


def reference_of(
    volume: CTVolume, path: str | os.PathLike[str], series_uid: str | None = None
) -> SourceSeries:
    """The DICOM original of a scan that was read from another format.

    Args:
        volume: the scan that was answered on.
        path: folder, zip archive or file of the DICOM series.
        series_uid: which series of several. Defaults to the only one, or to the one that the scan
            is named by.

    Raises:
        GeometryError: size or place of the voxels differ (however the axes are stored).
        ScanError: the voxels differ, or as :func:`read_source_series`.
        SeriesSelectionError: no series, or several and none chosen.
    """
    folder = Path(path)
    check_path(folder)
    if series_uid is None and (folder.is_dir() or folder.suffix.lower() == ".zip"):
        # A scan that is named by its series, as LUNA16 does, has chosen already.
        listed = [series.series_uid for series in list_series(folder)]
        series_uid = volume.series_uid if volume.series_uid in listed else None
    original = open_ct(path, series_uid=series_uid)
    check_same_scan(volume, original)
    return read_source_series(path, original.series_uid)


def read_source_series(path: str | os.PathLike[str], series_uid: str) -> SourceSeries:
    """Headers of one CT series.

    Args:
        path: folder, zip archive or file.
        series_uid: which series; ``CTVolume.series_uid`` of the opened one.

    Raises:
        ScanError: no such series, an image lacks a UID that a reference needs, images carry
            different patients, studies or frames of reference, or a file is damaged.
    """
    check_path(Path(path))
    files = series_files(path, series_uid)
    if not files:
        raise ScanError(
            f"{path}: holds no CT series {series_uid}; expected the one that was opened; check the "
            "path"
        )
    header = _header(files[0], None)
    instances: dict[str, str] = {}
    for file in files:
        image = _header(file, list(_SAMENESS))
        for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            if not is_uid(str(image.get(name, "") or "")):
                raise ScanError(
                    f"{file}: its {name} is {str(image.get(name, ''))!r}; expected a UID, because "
                    "DICOM outputs refer to each image by it; use the original export of the "
                    "series, or write another format"
                )
        for name, what in _SHARED.items():
            if str(image.get(name, "") or "") != str(header.get(name, "") or ""):
                raise ScanError(  # without the values: no name stands in a message
                    f"{path}: {file.name} is of another {what} ({name} differs) than "
                    f"{files[0].name} of the same series; expected one; separate the files"
                )
        instances[str(image.SOPInstanceUID)] = str(image.SOPClassUID)
    return SourceSeries(
        str(path),
        header,
        tuple((kind, uid) for uid, kind in instances.items()),
    )


def check_same_scan(volume: CTVolume, original: CTVolume) -> None:
    """Refuses a DICOM series that the volume was not converted from.

    Axes may be stored in another order or direction. Three slices are compared voxel by voxel.

    Raises:
        GeometryError: size or place differ.
        ScanError: the voxels differ.
    """
    where = f"{original.source}: is not the DICOM original of {volume.source or volume.series_uid}"
    remedy = "give the series that the scan was converted from"
    step = original.index_per_mm @ volume.affine_lps[:3, :3]  # original's index per volume's
    goes_along = np.abs(step).argmax(axis=0)  # axis of the original, for each of the volume's
    backwards = step[goes_along, range(3)] < 0
    sizes, original_sizes = np.array(volume.shape[::-1]), np.array(original.shape[::-1])
    if sorted(goes_along) != [0, 1, 2] or (sizes != original_sizes[goes_along]).any():
        raise GeometryError(
            f"{where}: its matrix is {original.shape} (z, y, x), the scan's {volume.shape}; "
            f"expected the same voxels; {remedy}"
        )
    ends = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners = ends * (sizes - 1)
    counterparts = np.empty_like(corners)
    counterparts[:, goes_along] = np.where(backwards, sizes - 1 - corners, corners)
    apart = float(
        np.linalg.norm(volume.points_of(corners) - original.points_of(counterparts), axis=1).max()
    )
    if apart > CORNER_TOLERANCE_MM:
        raise GeometryError(
            f"{where}: corners of the two are up to {apart:.3g} mm apart, expected at most "
            f"{CORNER_TOLERANCE_MM:g} mm; {remedy}"
        )
    equal = _share_of_equal_voxels(volume, original, goes_along, backwards)
    if equal < LEAST_EQUAL_SHARE:
        raise ScanError(
            f"{where}: {equal:.1%} of the compared voxels have the same HU, expected at least "
            f"{LEAST_EQUAL_SHARE:.0%} (another kernel or another patient in the same geometry); "
            f"{remedy}"
        )


def is_uid(text: str) -> bool:
    """Whether it can be referred to; old makers' leading zeros are let pass."""
    return 0 < len(text) <= _LONGEST_UID and set(text) <= set(string.digits + ".")


def _share_of_equal_voxels(
    volume: CTVolume,
    original: CTVolume,
    goes_along: npt.NDArray[np.intp],
    backwards: npt.NDArray[np.bool_],
) -> float:
    depth, height, width = original.shape
    through = int(np.flatnonzero(goes_along == 2)[0])  # the volume's axis across the slices
    equal = []
    for index in dict.fromkeys((depth // 4, depth // 2, 3 * depth // 4)):
        theirs = original.window((index, 0, 0), (index + 1, height, width))
        start, stop = [0, 0, 0], list(volume.shape[::-1])
        start[through] = depth - 1 - index if backwards[through] else index
        stop[through] = start[through] + 1
        ours = volume.window((start[2], start[1], start[0]), (stop[2], stop[1], stop[0])).transpose(
            2, 1, 0
        )
        ours = np.flip(ours, axis=tuple(np.flatnonzero(backwards)))
        ours = ours.transpose(np.argsort(goes_along)).transpose(2, 1, 0)
        equal.append((np.abs(ours.astype(np.int32) - theirs) <= HU_TOLERANCE).mean())
    return float(np.mean(equal))


def _header(file: DicomFile, names: list[str] | None) -> Dataset:
    try:
        with file.open() as stream, warnings.catch_warnings():
            # Values that break the standard are taken over as they are.
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(
                stream, stop_before_pixels=True, force=True, specific_tags=names
            )
            # Text becomes Unicode here, down to the last sequence: it is written in UTF-8.
            header.decode()
    except PARSE_ERRORS as error:
        raise ScanError(
            f"{file}: its DICOM header is damaged ({one_line(error)}); expected a CT image; copy "
            "the file again"
        ) from error
    return header
