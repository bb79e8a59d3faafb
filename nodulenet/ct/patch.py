"""Patches at a point, resampled straight from a small window of the scan.

The patch grid is parallel to the patient's LPS axes whatever the scan's own direction, so that
the same point gives the same patch from every file of the same scan. Samples and the rule at the
scan's border are those of SimpleITK's ResampleImageFilter: up to half a voxel beyond the outermost
voxel centres counts as inside (linear interpolation continues with the border value, B-spline
with its mirrored coefficients), everything farther out is filled. One difference: samples exactly
half a voxel out count as inside at both ends, in ITK at the near end only, so that a scan stored
flipped gives the same patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nodulenet.cpus import usable_cpus
from nodulenet.ct.outside import require_inside
from nodulenet.ct.resampling import Grid, Interpolation, resample
from nodulenet.ct.sources import MAX_VOXELS, Shape
from nodulenet.ct.volume import CTVolume
from nodulenet.errors import UsageError

Form = Literal["3d", "2d", "2.5d"]

MAX_PATCH_VOXELS = 2**28
"""Of one patch (1 GiB of float32)."""

_SAME_GRID = 1e-6
"""Share of a step by which points may be off one grid."""

_SLAB = 32
"""Slices resampled at a time when a whole scan is."""


def extract_patch(
    volume: CTVolume,
    point_lps_mm: ArrayLike,
    size: Sequence[int],
    spacing_mm: ArrayLike,
    *,
    form: Form = "3d",
    interpolation: Interpolation = "linear",
    outside_hu: float = -1024.0,
    antialias: bool = False,
) -> NDArray[np.float32]:
    """HU around a point on a regular grid along the patient's axes.

    Voxel k of n along an axis lies at ``point + (k - (n - 1) / 2) * spacing``: the grid is
    symmetric about the point, which itself need not be a voxel of scan or patch. Array z rises to
    the head, y to the back, x to the patient's left.

    Args:
        volume: the scan; only a window of it is read.
        point_lps_mm: (x, y, z) in LPS mm.
        size: voxels: (z, y, x) for "3d"; (y, x) for "2d", where (1, y, x) is the same; for
            "2.5d" (rows, columns) of each orthogonal plane, or (z, y, x) for z neighbouring
            axial slices.
        spacing_mm: (x, y, z) of the patch, in mm.
        form: "3d"; "2d", the axial plane through the point; "2.5d", planes as channels: the three
            orthogonal ones through the point, or neighbouring axial slices. Defaults to "3d".
        interpolation: "linear" or "bspline" (cubic). Defaults to "linear".
        outside_hu: HU outside the scan. Defaults to -1024 (air).
        antialias: whether to smooth the scan before sampling it more coarsely than its voxels
            (Gaussian with a standard deviation of half the excess of the patch spacing over the
            voxel spacing, in voxels, as scikit-image does). Defaults to False, as in SimpleITK
            and MONAI.

    Returns:
        float32 HU: (z, y, x) for "3d"; (y, x) for "2d"; for "2.5d" (rows, columns, 3) with the
        planes axial (y, x), coronal (z, x) and sagittal (z, y), or (y, x, z).

    Raises:
        PointOutsideScanError: the point lies outside the scan.
        UsageError: an argument has an impossible value.
        ScanError: the voxels cannot be read.

    Example:
        >>> volume = CTVolume.from_array(np.full((9, 9, 9), -800), (1, 1, 1))
        >>> extract_patch(volume, (4, 4, 4), (4, 6, 6), (0.5, 0.5, 0.5)).shape
        (4, 6, 6)
    """
    cut = _Cut.of(size, spacing_mm, form, interpolation, outside_hu, antialias)
    point = _point(point_lps_mm)
    require_inside(volume, point)
    return cut.at(volume, point)


def extract_patches(
    volume: CTVolume,
    points_lps_mm: ArrayLike,
    size: Sequence[int],
    spacing_mm: ArrayLike,
    *,
    form: Form = "3d",
    interpolation: Interpolation = "linear",
    outside_hu: float = -1024.0,
    antialias: bool = False,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """The patches of :func:`extract_patch` at many points of one scan.

    The cheapest way is chosen, and every way gives the same patches (to less than 0.001 HU):
    windows read point by point; the whole scan read once, where the windows together would read
    more than that from files of single slices; and, for points that share one grid of the patch
    spacing and overlap, one resampling of the part of the scan around them, from which patches are
    sliced.

    Args:
        volume: the scan.
        points_lps_mm: (n, 3) x, y, z in LPS mm, n at least 1.
        size, spacing_mm, form, interpolation, outside_hu, antialias: as for one patch.
        threads: how many patches are cut at a time. Defaults to the CPUs this process may use.

    Returns:
        float32 HU, (n, ...) of the patches in the order of the points.

    Raises:
        PointOutsideScanError: a point lies outside the scan (says which).
        UsageError: an argument has an impossible value.
        ScanError: the voxels cannot be read.
    """
    cut = _Cut.of(size, spacing_mm, form, interpolation, outside_hu, antialias)
    points = np.asarray(points_lps_mm, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
        raise UsageError(
            f"points_lps_mm has shape {points.shape}; expected (n, 3) finite numbers (x, y, z) in "
            "LPS mm, n at least 1"
        )
    for number in np.flatnonzero(~volume.contains(points)):
        require_inside(volume, points[number], f"point {number} ")
    patches = np.empty((len(points), *cut.shape), np.float32)
    shared = _shared_grid(cut, points)
    if shared is not None:
        _slice_shared_grid(volume, cut, shared, patches)
        return patches
    scan = prefetched(volume, points, size, spacing_mm, form=form)

    def fill(number: int) -> None:
        cut.at(scan, points[number], patches[number])

    with ThreadPoolExecutor(threads or usable_cpus()) as pool:
        # list() waits, and raises what a patch has raised.
        list(pool.map(fill, range(len(points))))
    return patches


def prefetched(
    volume: CTVolume,
    points_lps_mm: NDArray[np.float64],
    size: Sequence[int],
    spacing_mm: ArrayLike,
    *,
    form: Form = "3d",
) -> CTVolume:
    """The volume to cut these patches from: itself, or one made for reading all over the scan.

    That pays where the patches together need more voxels than the scan has.

    Args:
        volume: the scan.
        points_lps_mm: (n, 3) x, y, z in LPS mm.
        size, spacing_mm, form: as for :func:`extract_patch`.
    """
    reach_mm = np.zeros(3)
    for shape in plane_shapes(size, form):
        grid = Grid.around(shape, _spacing(spacing_mm))
        reach_mm = np.maximum(reach_mm, [offsets[-1] for offsets in grid.offsets_mm])
    window = 2 * np.abs(volume.index_per_mm) @ reach_mm + 2
    voxels = float(np.prod(np.minimum(window, volume.shape[::-1])))
    whole = float(np.prod(volume.shape))
    return volume.for_many_windows() if len(points_lps_mm) * voxels > whole else volume


def resample_scan(
    volume: CTVolume,
    spacing_mm: ArrayLike,
    *,
    interpolation: Interpolation = "linear",
    antialias: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The whole scan on a grid along the patient's axes, by the kernel of :func:`extract_patch`.

    The grid begins at the scan's lowest x, y and z voxel centres and goes no further than its
    highest ones. What lies outside an oblique scan is air. For patches there is no need of this:
    it costs time and memory.

    Args:
        volume: the scan.
        spacing_mm: (x, y, z) in mm.
        interpolation: "linear" or "bspline". Defaults to "linear".
        antialias: as for a patch. Defaults to False.

    Returns:
        float32 HU (z, y, x), and the centre of its first voxel, (x, y, z) in LPS mm.
    """
    spacing = np.array(_spacing(spacing_mm))
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    places = volume.points_of(corners * (np.array(volume.shape[::-1]) - 1))
    first, last = places.min(axis=0), places.max(axis=0)
    counts = np.floor((last - first) / spacing + 1e-6).astype(int) + 1
    if math.prod(counts.tolist()) > MAX_VOXELS:
        raise UsageError(
            f"spacing_mm is {tuple(spacing.tolist())}: the scan would have {counts.tolist()} "
            f"voxels; expected at most {MAX_VOXELS} in all; take coarser spacing"
        )
    hu = np.empty(tuple(counts[::-1]), np.float32)
    for top in range(0, len(hu), _SLAB):  # in slabs, so that memory stays near that of the result
        part = hu[top : top + _SLAB]
        cut = _Cut([part.shape], tuple(spacing), "3d", interpolation, -1024.0, antialias)
        extent = np.array(part.shape[::-1]) - 1
        cut.at(volume, first + (0, 0, top * spacing[2]) + extent / 2 * spacing, part)
    return hu, first


@dataclass(frozen=True)
class _Cut:
    """What to cut at a point, checked."""

    shapes: list[Shape]
    spacing_mm: tuple[float, float, float]
    form: Form
    interpolation: Interpolation
    outside_hu: float
    antialias: bool

    @classmethod
    def of(
        cls,
        size: Sequence[int],
        spacing_mm: ArrayLike,
        form: Form,
        interpolation: Interpolation,
        outside_hu: float,
        antialias: bool,
    ) -> _Cut:
        shapes = plane_shapes(size, form)
        if interpolation not in ("linear", "bspline"):
            raise UsageError(f"interpolation is {interpolation!r}; expected 'linear' or 'bspline'")
        return cls(shapes, _spacing(spacing_mm), form, interpolation, outside_hu, antialias)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the patch."""
        z, y, x = self.shapes[0]
        if self.form == "2.5d":
            return (y, x, 3 if len(self.shapes) == 3 else z)
        return (z, y, x) if self.form == "3d" else (y, x)

    def at(
        self,
        volume: CTVolume,
        point: NDArray[np.float64],
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The patch at a point; in ``out``, C-contiguous and of its shape, where that is given."""
        planes = [
            resample(
                volume,
                point,
                Grid.around(shape, self.spacing_mm),
                self.interpolation,
                self.outside_hu,
                self.antialias,
                out if self.form == "3d" else None,
            )
            for shape in self.shapes
        ]
        patch = assemble_planes(planes, self.form)
        if out is not None and patch is not out:
            out[...] = patch
        return patch


@dataclass(frozen=True)
class _SharedGrid:
    """Points on one grid of the patch spacing: their steps (n, 3) along x, y, z from ``first``."""

    first_lps_mm: NDArray[np.float64]
    steps: NDArray[np.intp]


def _shared_grid(cut: _Cut, points: NDArray[np.float64]) -> _SharedGrid | None:
    """The points' grid, where resampling it once is less work than patch by patch."""
    if cut.form != "3d" or cut.antialias or len(points) < 2:
        return None
    first = points.min(axis=0)
    steps = (points - first) / cut.spacing_mm
    if np.abs(steps - np.rint(steps)).max() > _SAME_GRID:
        return None
    whole = np.rint(steps).astype(np.intp)
    box = np.prod(whole.max(axis=0) + np.array(cut.shapes[0][::-1]), dtype=np.float64)
    if box > 0.5 * len(points) * np.prod(cut.shapes[0]):
        return None
    return _SharedGrid(first, whole)


def _slice_shared_grid(
    volume: CTVolume, cut: _Cut, shared: _SharedGrid, patches: NDArray[np.float32]
) -> None:
    depth, height, width = cut.shapes[0]
    reach = shared.steps.max(axis=0)
    box: Shape = (depth + int(reach[2]), height + int(reach[1]), width + int(reach[0]))
    middle = shared.first_lps_mm + reach / 2 * cut.spacing_mm
    hu = replace(cut, shapes=[box]).at(volume, middle)
    for patch, (x, y, z) in zip(patches, shared.steps, strict=True):
        patch[:] = hu[z : z + depth, y : y + height, x : x + width]


def assemble_planes(planes: Sequence[NDArray[np.float32]], form: Form) -> NDArray[np.float32]:
    """The patch of its parts, which have the shapes of :func:`plane_shapes`."""
    if form == "3d":
        return planes[0]
    if form == "2d":
        return planes[0][0]
    if len(planes) == 1:
        return np.ascontiguousarray(np.moveaxis(planes[0], 0, -1))
    axial, coronal, sagittal = planes
    return np.stack([axial[0], coronal[:, 0], sagittal[:, :, 0]], axis=-1)


def plane_shapes(size: Sequence[int], form: Form) -> list[Shape]:
    """The grids (z, y, x) that a patch is made of: one, or three orthogonal planes.

    Raises:
        UsageError: the size does not fit the form.
    """
    numbers = [int(n) for n in size if isinstance(n, int | np.integer) and n > 0]
    counts = {"3d": (3,), "2d": (2, 3), "2.5d": (2, 3)}
    if form not in counts:
        raise UsageError(f"form is {form!r}; expected '3d', '2d' or '2.5d'")
    fits = len(numbers) == len(size) and len(numbers) in counts[form]
    if form == "2d" and len(numbers) == 3 and numbers[0] != 1:
        fits = False
    if not fits:
        expected = {
            "3d": "three positive integers (z, y, x); for a plane use form='2d'",
            "2d": "two positive integers (y, x)",
            "2.5d": "two positive integers (rows, columns) of each orthogonal plane, or three "
            "(z, y, x) for neighbouring axial slices",
        }[form]
        raise UsageError(f"size is {tuple(size)} for form={form!r}; expected {expected}")
    if math.prod(numbers) > MAX_PATCH_VOXELS:
        raise UsageError(
            f"size is {tuple(size)}: {math.prod(numbers)} voxels; expected at most "
            f"{MAX_PATCH_VOXELS}; take a smaller patch, or coarser spacing"
        )
    rows, columns = numbers[-2:]
    if form == "3d" or (form == "2.5d" and len(numbers) == 3):
        return [(numbers[0], rows, columns)]
    if form == "2d":
        return [(1, rows, columns)]
    return [(1, rows, columns), (rows, 1, columns), (rows, columns, 1)]


def _spacing(spacing_mm: ArrayLike) -> tuple[float, float, float]:
    values = np.asarray(spacing_mm, dtype=np.float64)
    if values.shape != (3,) or not np.isfinite(values).all() or (values <= 0).any():
        raise UsageError(
            f"spacing_mm is {values.tolist()}; expected three positive numbers (x, y, z) in mm"
        )
    return float(values[0]), float(values[1]), float(values[2])


def _point(point_lps_mm: ArrayLike) -> NDArray[np.float64]:
    point = np.asarray(point_lps_mm, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise UsageError(
            f"point_lps_mm is {point.tolist()}; expected three finite numbers (x, y, z) in LPS mm"
        )
    return point
