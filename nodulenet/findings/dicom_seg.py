"""DICOM Segmentation objects as masks, through highdicom (extra ``[dicom-sr]``).

Standard: DICOM PS3.3 A.51 (Segmentation IOD). Segments are read one by one, so that overlapping
ones stay whole; frames that a writer left out because they are empty count as empty. Their place
comes from the object itself, not from the series that it refers to.
"""

from __future__ import annotations

import sqlite3
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from scipy import ndimage

from nodulenet.ct.sources import MAX_VOXELS
from nodulenet.errors import FindingsError, MissingDependencyError
from nodulenet.findings.json_file import text
from nodulenet.findings.regions import Mask, Region, Shape

_SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes Segmentation Storage and Label Map Segmentation Storage."""

# What pydicom and highdicom raise for objects that break the standard.
_READ_ERRORS = (
    BytesLengthException,
    InvalidDicomError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    sqlite3.Error,  # highdicom keeps the table of frames in one
    struct.error,
)


def open_dicom_seg(path: Path, threshold: float | None) -> Mask:
    """A Segmentation object as a mask; a segment's number is its label.

    Args:
        path: one DICOM file.
        threshold: for fractional segmentations (0..1) the value from which a voxel counts.

    Raises:
        FindingsError: not a Segmentation, damaged, not on one regular grid in the patient,
            fractional and no threshold, or empty.
        MissingDependencyError: highdicom is not installed.
    """
    try:
        return _open(path, threshold)
    except _READ_ERRORS as error:  # values are converted when they are used, so errors come late
        raise _unreadable(path, error) from None


def _open(path: Path, threshold: float | None) -> Mask:
    head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    found = str(head.get("SOPClassUID", ""))
    if found not in _SEG_CLASSES:
        name = pydicom.uid.UID(found).name if found else "nothing"
        raise FindingsError(
            f"{path}: is DICOM of the kind {name}, expected a Segmentation object; give the "
            "segmentation, not the scan"
        )
    try:
        import highdicom
    except ImportError:
        raise MissingDependencyError(
            f"{path}: a DICOM Segmentation needs highdicom, which is not installed; "
            "pip install 'nodulenet[dicom-sr]'"
        ) from None
    seg = highdicom.seg.segread(path)
    geometry = seg.get_volume_geometry()
    if geometry is None:
        raise FindingsError(
            f"{path}: its frames do not lie on one regular grid in the patient, expected equal "
            "steps between parallel slices; resample the segmentation"
        )
    z, y, x = (int(size) for size in geometry.spatial_shape)
    if z * y * x > MAX_VOXELS:
        raise FindingsError(
            f"{path}: spans {z} x {y} x {x} voxels, expected at most {MAX_VOXELS}; its frame "
            "positions are damaged: export it again"
        )
    fractional = str(seg.SegmentationType) == "FRACTIONAL"
    if fractional and threshold is None:
        raise FindingsError(
            f"{path}: is a fractional segmentation (0 to 1), expected marked voxels; give "
            "threshold=0.5 to take voxels from there up"
        )
    series, notes = _referenced_series(path, seg)
    frame = text(str(seg.get("FrameOfReferenceUID", "") or ""))
    regions = []
    for number in map(int, seg.segment_numbers):
        if number == 0:  # the background of a label map
            continue
        label = seg.get_segment_description(number).segment_label
        columns = {"segment_label": text(str(label))}
        if series is not None:
            columns["scan_id"] = series
        if frame:
            columns["frame_of_reference_uid"] = frame
        read = partial(_segment, path, seg, number, threshold if fractional else None)
        regions.append(Region(number, read, columns))
    return Mask(path, (z, y, x), np.array(geometry.affine, float), regions, notes)


def _segment(
    path: Path, seg: Any, number: int, threshold: float | None
) -> tuple[Shape, npt.NDArray[np.bool_]]:
    try:
        volume = seg.get_volume(segment_numbers=[number])
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None
    values = volume.array[..., 0]
    marked = values > 0 if threshold is None else values >= threshold
    boxes = ndimage.find_objects(marked.view(np.uint8))
    if not boxes:
        return (0, 0, 0), np.zeros((1, 1, 1), np.bool_)
    start = boxes[0][0].start, boxes[0][1].start, boxes[0][2].start
    return start, marked[boxes[0]].copy()


def _referenced_series(path: Path, seg: Any) -> tuple[str | None, tuple[str, ...]]:
    """The one series that the object refers to, or why there is none."""
    found = {
        uid
        for item in seg.get("ReferencedSeriesSequence", [])
        if (uid := text(str(item.get("SeriesInstanceUID", ""))))
    }
    if len(found) == 1:
        return found.pop(), ()
    why = f"{len(found)} series" if found else "no series"
    return None, (f"{path}: refers to {why}; it is taken for the scan that is given",)


def _unreadable(path: Path, error: BaseException) -> FindingsError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return FindingsError(
        f"{path}: cannot be read as DICOM Segmentation ({reason}); expected a whole, valid object; "
        "export it again"
    )
