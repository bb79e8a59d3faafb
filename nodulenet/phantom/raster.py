"""Drawing shapes into a volume: local boxes, soft edges, thick slices.

A shape is a function of millimetres. It is evaluated only in the box around it, on sub-slices
thin enough that a voxel is about a cube, with an edge that is one in-plane voxel wide (half a
voxel to either side), and the sub-slices are averaged: the partial volume of a real slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Box:
    """Part of a grid: where it lies in the volume, and the millimetres of its samples."""

    where: tuple[slice, slice, slice]
    x_mm: FloatArray
    y_mm: FloatArray
    z_mm: FloatArray
    subslices: int

    def open_mesh(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Returns x, y, z (mm) in the shapes (1, 1, nx), (1, ny, 1), (nz * subslices, 1, 1)."""
        return self.x_mm[None, None, :], self.y_mm[None, :, None], self.z_mm[:, None, None]

    def average(self, samples: FloatArray) -> FloatArray:
        """Averages samples (nz * subslices, ny, nx) over the thickness of each slice."""
        if self.subslices == 1:
            return samples
        thin = samples.reshape(-1, self.subslices, *samples.shape[1:])
        return thin.mean(axis=1, dtype=np.float32)


@dataclass(frozen=True)
class Grid:
    """A voxel grid in the phantom's own millimetres; its centre is the point (0, 0, 0).

    Args:
        shape: Voxels (z, y, x).
        spacing_mm: Voxel spacing (x, y, z) in mm; slices are as thick as their spacing.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @cached_property
    def x_mm(self) -> FloatArray:
        return _centred(self.shape[2], self.spacing_mm[0])

    @cached_property
    def y_mm(self) -> FloatArray:
        return _centred(self.shape[1], self.spacing_mm[1])

    @cached_property
    def z_mm(self) -> FloatArray:
        return _centred(self.shape[0], self.spacing_mm[2])

    @property
    def edge_mm(self) -> float:
        """Width of a soft edge: one in-plane voxel."""
        return self.spacing_mm[0]

    @cached_property
    def subslices(self) -> int:
        return int(np.clip(round(self.spacing_mm[2] / self.spacing_mm[0]), 1, 4))

    @property
    def half_extent_mm(self) -> NDArray[np.float64]:
        """Half the extent (x, y, z) between the outer borders of the outer voxels, in mm."""
        return 0.5 * np.array(self.shape[::-1]) * np.array(self.spacing_mm)

    def box(self, low_mm: NDArray[np.float64], high_mm: NDArray[np.float64]) -> Box | None:
        """Returns the part of the grid between two corners (x, y, z); None where there is none."""
        slices = []
        for axis in range(3):
            count, step = self.shape[2 - axis], self.spacing_mm[axis]
            start = max(0, int(np.floor(low_mm[axis] / step + 0.5 * count - 0.5)))
            stop = min(count, int(np.ceil(high_mm[axis] / step + 0.5 * count - 0.5)) + 1)
            if stop <= start:
                return None
            slices.append(slice(start, stop))
        along_x, along_y, along_z = slices
        thin = (np.arange(self.subslices, dtype=np.float32) + 0.5) / self.subslices - 0.5
        z_mm = self.z_mm[along_z, None] + thin * np.float32(self.spacing_mm[2])
        return Box(
            (along_z, along_y, along_x),
            self.x_mm[along_x],
            self.y_mm[along_y],
            z_mm.reshape(-1).astype(np.float32),
            self.subslices,
        )


def _centred(count: int, step: float) -> FloatArray:
    return ((np.arange(count) - 0.5 * (count - 1)) * step).astype(np.float32)


def coverage(distance_mm: FloatArray, edge_mm: float) -> FloatArray:
    """Turns signed distances (mm, negative inside) into the covered part of a voxel, 0..1."""
    covered = distance_mm * np.float32(-1.0 / edge_mm)
    covered += np.float32(0.5)
    return np.clip(covered, 0.0, 1.0, out=covered)


def lift(volume: FloatArray, box: Box, covered: FloatArray, hu: float, background: float) -> None:
    """Draws a shape that is denser than what is there: overlapping shapes do not add up.

    Args:
        volume: HU, float32 (z, y, x), changed in place.
        box: Where the shape is.
        covered: Covered part of each voxel of the box, 0..1.
        hu: Value of the shape.
        background: Value that a partly covered voxel holds besides the shape.
    """
    part = volume[box.where]
    drawn = np.float32(background) + covered * np.float32(hu - background)
    np.maximum(part, drawn, out=part, where=covered > 0)


def carve(volume: FloatArray, box: Box, covered: FloatArray, hu: float, background: float) -> None:
    """Draws a shape that is less dense than what is there (air in a tube); see `lift`."""
    part = volume[box.where]
    drawn = np.float32(background) + covered * np.float32(hu - background)
    np.minimum(part, drawn, out=part, where=covered > 0)


def ellipsoid_distance(
    points: tuple[FloatArray, FloatArray, FloatArray],
    semi_axes_mm: NDArray[np.float64],
    axes: NDArray[np.float64],
) -> FloatArray:
    """Returns the approximate signed distance (mm) to an ellipsoid about (0, 0, 0).

    Args:
        points: x, y, z in mm, broadcastable.
        semi_axes_mm: Three semi-axes in mm.
        axes: 3 x 3, a unit vector of an axis per row.
    """
    x, y, z = points
    unit, scaled = None, None
    for direction, semi_axis in zip(axes.astype(np.float32), semi_axes_mm, strict=True):
        q = (direction[0] * x + direction[1] * y + direction[2] * z) * np.float32(1.0 / semi_axis)
        square = q * q
        thin = square * np.float32(1.0 / semi_axis**2)
        unit = square if unit is None else unit + square
        scaled = thin if scaled is None else scaled + thin
    assert unit is not None
    assert scaled is not None
    radius = np.sqrt(unit)
    gradient = np.sqrt(scaled) + np.float32(1e-6)
    return radius * (radius - 1) / gradient


def draw_ellipsoid(
    volume: FloatArray,
    grid: Grid,
    centre_mm: NDArray[np.float64],
    semi_axes_mm: NDArray[np.float64],
    axes: NDArray[np.float64],
    *,
    hu: float,
    background: float,
) -> None:
    """Draws a filled ellipsoid with `lift` or, where `hu` is below `background`, with `carve`."""
    reach = np.sqrt(((axes * semi_axes_mm[:, None]) ** 2).sum(axis=0)) + grid.edge_mm
    box = grid.box(centre_mm - reach, centre_mm + reach)
    if box is None:
        return
    x, y, z = box.open_mesh()
    c = centre_mm.astype(np.float32)
    distance = ellipsoid_distance((x - c[0], y - c[1], z - c[2]), semi_axes_mm, axes)
    # A linear edge adds about edge**2 / (12 r) to the radius r of a ball. Shapes below a voxel
    # are drawn as large as a voxel and as much fainter.
    radius = float(np.prod(semi_axes_mm)) ** (1 / 3)
    drawn = max(radius - grid.edge_mm**2 / (12 * radius), 0.5 * grid.edge_mm)
    share = min(1.0, radius**3 / (drawn**3 + 0.25 * drawn * grid.edge_mm**2))
    semi_axes_mm = semi_axes_mm * (drawn / radius)
    covered = box.average(coverage(distance, grid.edge_mm)) * np.float32(share)
    (lift if hu > background else carve)(volume, box, covered, hu, background)


def tube_coverage(
    box: Box,
    start_mm: NDArray[np.float64],
    end_mm: NDArray[np.float64],
    radii_mm: tuple[float, float],
    edge_mm: float,
) -> FloatArray:
    """Returns the covered part of each voxel of a box by a tapering tube with round ends.

    A tube thinner than the edge keeps its cross-section: it is drawn as wide as the edge and
    as much fainter.
    """
    along = (end_mm - start_mm).astype(np.float32)
    length2 = float(along @ along) + 1e-9
    x = box.x_mm - np.float32(start_mm[0])
    y = box.y_mm - np.float32(start_mm[1])
    z = box.z_mm - np.float32(start_mm[2])
    dot = ((z * along[2])[:, None] + y * along[1])[:, :, None] + x * along[0]
    square = ((z * z)[:, None] + y * y)[:, :, None] + x * x
    place = dot * np.float32(1.0 / length2)
    np.clip(place, 0.0, 1.0, out=place)
    dot *= 2
    dot -= place * np.float32(length2)
    dot *= place
    square -= dot
    np.maximum(square, 0.0, out=square)
    np.sqrt(square, out=square)
    # A linear edge adds edge**2 / 12 to the square of the radius.
    wide = [
        float(np.sqrt(max(radius**2 - edge_mm**2 / 12, 0.25 * edge_mm**2))) for radius in radii_mm
    ]
    place *= np.float32(wide[1] - wide[0])
    place += np.float32(wide[0])
    square -= place
    covered = box.average(coverage(square, edge_mm))
    mean_radius = 0.5 * (radii_mm[0] + radii_mm[1])
    share = min(1.0, 3.0 * mean_radius**2 / edge_mm**2)
    if share < 1.0:
        covered *= np.float32(share)
    return covered


def tube_box(
    grid: Grid,
    start_mm: NDArray[np.float64],
    end_mm: NDArray[np.float64],
    radius_mm: float,
) -> Box | None:
    """Returns the box around a tube, soft edge included."""
    reach = max(radius_mm, 0.5 * grid.edge_mm) + 0.5 * grid.edge_mm
    return grid.box(np.minimum(start_mm, end_mm) - reach, np.maximum(start_mm, end_mm) + reach)
