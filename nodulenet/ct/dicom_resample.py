"""Tilted or unevenly spaced slices resampled onto a regular grid, a window at a time.

Each voxel of the grid lies between two slices. Both are read at its place within their planes
(linear, only where slices are shifted against each other), then interpolated linearly along the
normal. A volume that is linear in millimetres is reproduced exactly but for the rounding to int16.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nodulenet.ct.dicom_header import ImageHeader
from nodulenet.ct.dicom_pixels import DicomSource
from nodulenet.ct.hu import AIR_HU
from nodulenet.ct.sources import ArraySource, Shape, VoxelSource

_ON_A_SLICE = 1e-6
"""Share of a neighbour below which a voxel counts as lying on one slice."""


class ResampledSource:
    """HU on a regular grid that covers all slices; what no slice covers is air.

    Args:
        slices: ordered along the normal.
        places_mm: (slices, 3), place of each slice's first pixel along the row axis, the column
            axis and the normal, from the first slice.
        spacing_mm: (x, y, z); z is the usual distance of slices.
    """

    def __init__(
        self,
        slices: Sequence[ImageHeader],
        places_mm: NDArray[np.float64],
        spacing_mm: tuple[float, float, float],
    ) -> None:
        self.warnings: tuple[str, ...] = ()
        self._slices = DicomSource(slices)
        self._along = places_mm[:, 2]
        reach = float(self._along[-1])
        steps = max(1, round(reach / spacing_mm[2]))
        self.spacing_mm = (spacing_mm[0], spacing_mm[1], reach / steps)
        """(x, y, z), z such that the first and the last slice lie on the grid."""
        shift = places_mm[:, :2] / spacing_mm[:2]
        # Shifts of less than a hundredth of a pixel are rounded tags.
        shift[np.abs(shift).max(axis=1) < 0.01] = 0.0
        first = np.floor(shift.min(axis=0)).astype(int)
        grown = np.ceil(shift.max(axis=0)).astype(int) - first
        self._shift_xy = shift - first
        self.first_mm = (first[0] * spacing_mm[0], first[1] * spacing_mm[1])
        """Place of the grid's first voxel along the row and the column axis."""
        _, rows, columns = self._slices.shape
        self.shape: Shape = (steps + 1, rows + int(grown[1]), columns + int(grown[0]))

    def for_many_windows(self) -> VoxelSource:
        """All voxels in memory, resampled once."""
        return ArraySource(self.read((0, 0, 0), self.shape))

    def read(self, start: Shape, stop: Shape) -> NDArray[np.int16]:
        hu = np.empty((stop[0] - start[0], stop[1] - start[1], stop[2] - start[2]), np.int16)
        planes: dict[int, NDArray[np.float32]] = {}
        for z in range(start[0], stop[0]):
            place = z * self.spacing_mm[2]
            lower = int(np.searchsorted(self._along, place, side="right")) - 1
            lower = min(max(lower, 0), len(self._along) - 2)
            share = (place - self._along[lower]) / (self._along[lower + 1] - self._along[lower])
            needed = [
                (index, weight)
                for index, weight in ((lower, 1.0 - share), (lower + 1, share))
                if weight > _ON_A_SLICE
            ]
            planes = {
                index: planes[index] if index in planes else self._plane(index, start, stop)
                for index, _ in needed
            }
            total = sum(np.float32(weight) * planes[index] for index, weight in needed)
            hu[z - start[0]] = np.rint(total / np.float32(sum(weight for _, weight in needed)))
        return hu

    def _plane(self, index: int, start: Shape, stop: Shape) -> NDArray[np.float32]:
        """One slice at the places of the grid's rows and columns start..stop."""
        _, rows, columns = self._slices.shape
        shift_x, shift_y = self._shift_xy[index]
        y = np.arange(start[1], stop[1]) - shift_y
        x = np.arange(start[2], stop[2]) - shift_x
        inside_y = (y >= -0.5) & (y <= rows - 0.5)
        inside_x = (x >= -0.5) & (x <= columns - 0.5)
        plane = np.full((len(y), len(x)), AIR_HU, np.float32)
        if not (inside_y.any() and inside_x.any()):
            return plane
        (top, bottom, low_y, high_y, part_y) = _neighbours(y[inside_y], rows)
        (left, right, low_x, high_x, part_x) = _neighbours(x[inside_x], columns)
        source = self._slices.read((index, top, left), (index + 1, bottom, right))[0]
        values = source.astype(np.float32)
        values = values[low_y] + part_y[:, None] * (values[high_y] - values[low_y])
        values = values[:, low_x] + part_x * (values[:, high_x] - values[:, low_x])
        plane[np.ix_(inside_y, inside_x)] = values
        return plane


def _neighbours(
    places: NDArray[np.float64], size: int
) -> tuple[int, int, NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The range of pixels needed, and for each place its two pixels in it and the second's share.

    The outer half of a border pixel continues with its value.
    """
    clipped = np.clip(places, 0, size - 1)
    lower = np.floor(clipped).astype(np.intp)
    upper = np.minimum(lower + 1, size - 1)
    first, last = int(lower.min()), int(upper.max()) + 1
    return first, last, lower - first, upper - first, (clipped - lower).astype(np.float32)
