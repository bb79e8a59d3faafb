"""What a scan is, in numbers: for people who want to know before they trust it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nodulenet.ct.open import check_path, open_ct
from nodulenet.ct.volume import CTVolume

_LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))
"""Names of the two ends of the patient's axes x, y and z, positive in LPS first."""

_STRAIGHT_DEGREES = 0.1
"""An index axis nearer than this to a patient axis is not called oblique."""

_SLAB = 32


def describe_scan(
    path: str | os.PathLike[str],
    *,
    series_uid: str | None = None,
    irregular: Literal["refuse", "resample"] = "refuse",
) -> dict[str, Any]:
    """Geometry, orientation, HU range, warnings and, for DICOM, the series at a path.

    The whole scan is read, for its HU range. A folder with several series and none chosen is
    described by their list alone.

    Args:
        path, series_uid, irregular: as for :func:`nodulenet.ct.open_ct`.

    Returns:
        Plain values that JSON takes: ``scan``, ``series`` (a list, DICOM only) and, where one was
        opened, ``volume`` (see :func:`describe_volume`).

    Raises:
        ScanError: as ``open_ct``.
    """
    scan = Path(path)
    check_path(scan)
    facts: dict[str, Any] = {"scan": str(scan)}
    if scan.is_dir() or scan.suffix.lower() == ".zip":
        from nodulenet.ct.dicom import list_series

        series = list_series(scan)
        facts["series"] = [asdict(s) | {"spacing_mm": list(s.spacing_mm)} for s in series]
        if len(series) > 1 and series_uid is None:
            return facts
    volume = open_ct(scan, series_uid=series_uid, irregular=irregular)
    facts["volume"] = describe_volume(volume)
    return facts


def describe_volume(volume: CTVolume) -> dict[str, Any]:
    """The facts about an opened scan, read to its end; arrays in the order that names say."""
    low, high = 32767, -32768
    depth, height, width = volume.shape
    for first in range(0, depth, _SLAB):
        hu = volume.window((first, 0, 0), (min(first + _SLAB, depth), height, width))
        low, high = min(low, int(hu.min())), max(high, int(hu.max()))
    extent_low, extent_high = volume.extent_lps_mm()
    return {
        "series_uid": volume.series_uid,
        "format": volume.format,
        "shape_zyx": list(volume.shape),
        "spacing_xyz_mm": list(volume.spacing_mm),
        "origin_lps_mm": list(volume.origin_lps_mm),
        "direction": volume.direction.tolist(),
        "orientation": orientation(volume),
        "oblique_degrees": round(oblique_degrees(volume), 3),
        "extent_lps_mm": [list(extent_low), list(extent_high)],
        "hu_range": [low, high],
        "warnings": list(volume.warnings),
    }


def orientation(volume: CTVolume) -> str:
    """Where the index axes x, y and z point, as three letters, such as "LPS".

    L(eft), R(ight), P(osterior), A(nterior), S(uperior), I(nferior); for an oblique scan the
    nearest ones.
    """
    letters = []
    for axis in volume.direction.T:
        patient_axis = int(np.abs(axis).argmax())
        letters.append(_LETTERS[patient_axis][0 if axis[patient_axis] > 0 else 1])
    return "".join(letters)


def oblique_degrees(volume: CTVolume) -> float:
    """Largest angle between an index axis and its nearest patient axis; 0 for a straight scan."""
    cosines = np.clip(np.abs(volume.direction).max(axis=0), 0.0, 1.0)
    angle = float(np.degrees(np.arccos(cosines)).max())
    return angle if angle > _STRAIGHT_DEGREES else 0.0
