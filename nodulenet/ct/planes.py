"""Where each image of a DICOM series lies, and what archives and viewers call it.

Standard: DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1: pixel indices count from 0, and 0 is the
centre of the first pixel. C.7.4.1: coordinates in millimetres may be compared between two series
only where their Frame of Reference UID is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nodulenet.ct.dicom_header import ImageHeader


@dataclass(frozen=True)
class ImagePlane:
    """One image of a series, or one frame of a multi-frame image, with its place in LPS mm.

    Attributes:
        sop_instance_uid: empty where the file has none; the same for all frames of one file.
        series_number: None where the file has none.
        instance_number: what viewers call the image number; no slice index: it may run against
            the slices, have gaps and stand twice. None where the file has none.
        frame_number: from 1, as the standard counts; None for an image with a single frame.
        rows: pixels down the image.
        columns: pixels along a row.
        position_lps_mm: centre of the first pixel, (x, y, z).
        orientation: direction cosines of a row (rising column), then of a column (rising row).
        pixel_spacing_mm: distance of rows, distance of columns.
    """

    sop_instance_uid: str
    series_number: int | None
    instance_number: int | None
    frame_number: int | None
    rows: int
    columns: int
    position_lps_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]

    @property
    def place(self) -> tuple[tuple[float, ...], ...]:
        """What decides where a pixel lies; equal for copies of an image."""
        return self.position_lps_mm, self.orientation, self.pixel_spacing_mm

    def points_of(self, rows: ArrayLike, columns: ArrayLike) -> NDArray[np.float64]:
        """LPS mm, float64 (n, 3), of places in the image.

        Args:
            rows: (n,) rows from 0 at the centre of the first pixel; parts of a pixel are allowed.
            columns: (n,) columns, likewise.
        """
        row_step, column_step = self.pixel_spacing_mm
        along_row = np.array(self.orientation[:3]) * column_step
        along_column = np.array(self.orientation[3:]) * row_step
        down, right = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
        return (
            np.array(self.position_lps_mm)
            + right[..., None] * along_row
            + down[..., None] * along_column
        )


def planes_of(
    headers: Iterable[ImageHeader], normal: NDArray[np.float64]
) -> tuple[ImagePlane, ...]:
    """The planes of checked headers, by their place along the stack's normal."""
    ordered = sorted(
        headers, key=lambda header: float(np.dot(header.position_lps_mm or (), normal))
    )
    return tuple(
        ImagePlane(
            sop_instance_uid=header.sop_instance_uid,
            series_number=header.series_number,
            instance_number=header.instance_number,
            frame_number=header.frame + 1 if header.frames > 1 else None,
            rows=header.rows,
            columns=header.columns,
            position_lps_mm=header.position_lps_mm or (),
            orientation=header.orientation or (),
            pixel_spacing_mm=header.pixel_spacing_mm or (),
        )
        for header in ordered
    )
