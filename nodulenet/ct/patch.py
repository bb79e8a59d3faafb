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
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nodulenet.cpus import usable_cpus
from nodulenet.ct.sources import MAX_VOXELS, Shape
from nodulenet.ct.volume import BORDER_TOLERANCE_VOXELS, CTVolume
from nodulenet.errors import PointOutsideScanError, UsageError

Form = Literal["3d", "2d", "2.5d"]
Interpolation = Literal["linear", "bspline"]

ALIGNED_TOLERANCE_VOXELS = 1e-6
"""A patch whose samples leave the scan's axes by no more than this takes the separable path."""

_SPLINE_MARGIN = 12
"""Voxels around a window for B-spline coefficients: what is cut off weighs 0.268^12 = 1e-7."""

MAX_PATCH_VOXELS = 2**28
"""Of one patch (1 GiB of float32)."""

_LARGEST_SCRATCH = 2**22
"""Voxels of the largest buffer that is kept from patch to patch (16 MiB)."""

_SAME_GRID = 1e-6
"""Share of a step by which points may be off one grid."""

_SLAB = 32
"""Slices resampled at a time when a whole scan is."""

_GAUSSIAN_REACH = 4.0
"""Standard deviations of the antialiasing filter that are read around a window."""


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
        grid = _Grid.around(shape, _spacing(spacing_mm))
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
            _resample(
                volume,
                point,
                _Grid.around(shape, self.spacing_mm),
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


@dataclass(frozen=True)
class _Grid:
    """Offsets of the samples from the point along x, y, z, in LPS mm."""

    offsets_mm: tuple[NDArray[np.float64], ...]

    @classmethod
    def around(cls, shape_zyx: Shape, spacing_mm: tuple[float, ...]) -> _Grid:
        pairs = zip(shape_zyx[::-1], spacing_mm, strict=True)
        return cls(
            tuple(
                np.asarray((np.arange(n) - (n - 1) / 2) * step, dtype=np.float64)
                for n, step in pairs
            )
        )

    @property
    def step_mm(self) -> NDArray[np.float64]:
        """Distance of samples along x, y, z; 0 along an axis with a single sample."""
        return np.array([o[1] - o[0] if len(o) > 1 else 0.0 for o in self.offsets_mm])


def _resample(
    volume: CTVolume,
    point: NDArray[np.float64],
    grid: _Grid,
    interpolation: Interpolation,
    outside_hu: float,
    antialias: bool,
    out: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    centre = volume.index_of(point)
    sigma = np.zeros(3)
    if antialias:
        # Distance of neighbouring samples in source voxels, along each index axis (x, y, z).
        stride = np.linalg.norm(volume.index_per_mm * grid.step_mm, axis=1)
        sigma = np.maximum(0.0, (stride - 1.0) / 2.0)
    axes = _aligned_axes(volume.index_per_mm, grid)
    if axes is not None:
        return _separable(volume, centre, grid, axes, interpolation, outside_hu, sigma, out)
    return _oblique(volume, centre, grid, interpolation, outside_hu, sigma)


def _aligned_axes(index_per_mm: NDArray[np.float64], grid: _Grid) -> list[int] | None:
    """For index axes x, y, z the patient axis each runs along; None for oblique scans."""
    share = np.abs(index_per_mm) / np.abs(index_per_mm).max(axis=1, keepdims=True)
    axes = [int(axis) for axis in share.argmax(axis=1)]
    if sorted(axes) != [0, 1, 2]:
        return None
    reach = np.array([np.abs(offsets).max() for offsets in grid.offsets_mm])
    off_axis = np.abs(index_per_mm) * reach
    off_axis[range(3), axes] = 0.0
    return axes if off_axis.sum(axis=1).max() <= ALIGNED_TOLERANCE_VOXELS else None


def _separable(
    volume: CTVolume,
    centre: NDArray[np.float64],
    grid: _Grid,
    axes: list[int],
    interpolation: Interpolation,
    outside_hu: float,
    sigma: NDArray[np.float64],
    out: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """One axis after the other, each sample a weighted sum of a few layers of the window.

    Not matrix products, which are as short: the threads of BLAS stall each other when several
    processes prepare patches on the same cores (seen: 0.9 ms alone, 290 ms under load).
    """
    taps_of = _linear_taps if interpolation == "linear" else _bspline_taps
    sizes = volume.shape[::-1]
    samples = [
        centre[i] + volume.index_per_mm[i, axis] * grid.offsets_mm[axis]
        for i, axis in enumerate(axes)
    ]
    starts, stops = _window(samples, sizes, _margins(interpolation, sigma))
    values = _prepared_window(volume, starts, stops, interpolation, sigma)
    # The patient's y, x, z: the same order however the scan is stored.
    for axis, name in ((1, "first"), (0, "second"), (2, "first")):
        i = axes.index(axis)
        values = _weighted_sum(values, taps_of(samples[i], sizes[i]), starts[i], 2 - i, name)
    for i, array_axis in ((0, 2), (1, 1), (2, 0)):
        outside = ~_inside(samples[i], sizes[i])
        if outside.any():
            np.moveaxis(values, array_axis, 0)[outside] = outside_hu
    # values has the scan's index axes (z, y, x); the patch has the patient's. Always a copy: the
    # values lie in a buffer that the next patch takes.
    values = values.transpose([2 - axes.index(axis) for axis in (2, 1, 0)])
    if out is None:
        return np.array(values, dtype=np.float32, order="C")
    out[...] = values
    return out


def _oblique(
    volume: CTVolume,
    centre: NDArray[np.float64],
    grid: _Grid,
    interpolation: Interpolation,
    outside_hu: float,
    sigma: NDArray[np.float64],
) -> NDArray[np.float32]:
    x, y, z = grid.offsets_mm
    sizes = volume.shape[::-1]
    samples = [
        centre[i]
        + per_mm[2] * z[:, None, None]
        + per_mm[1] * y[None, :, None]
        + per_mm[0] * x[None, None, :]
        for i, per_mm in enumerate(volume.index_per_mm)
    ]
    starts, stops = _window(samples, sizes, _margins(interpolation, sigma))
    window = _prepared_window(volume, starts, stops, interpolation, sigma)
    coordinates = np.stack([samples[i] - starts[i] for i in (2, 1, 0)])
    values = ndimage.map_coordinates(
        window,
        coordinates,
        output=np.float32,
        order=1 if interpolation == "linear" else 3,
        mode="nearest" if interpolation == "linear" else "mirror",
        prefilter=False,
    )
    inside = np.logical_and.reduce([_inside(samples[i], sizes[i]) for i in range(3)])
    values[~inside] = outside_hu
    return np.asarray(values, dtype=np.float32)


def _margins(interpolation: Interpolation, sigma: NDArray[np.float64]) -> list[int]:
    spline = _SPLINE_MARGIN if interpolation == "bspline" else 0
    return [spline + int(np.ceil(_GAUSSIAN_REACH * value)) for value in sigma]


def _window(
    samples: Sequence[NDArray[np.float64]], sizes: Shape, margins: list[int]
) -> tuple[list[int], list[int]]:
    """First and one after the last voxel, along x, y, z, that the samples need."""
    starts, stops = [], []
    for values, size, margin in zip(samples, sizes, margins, strict=True):
        low, high = np.clip([values.min(), values.max()], 0, size - 1)
        starts.append(max(0, int(np.floor(low)) - margin))
        stops.append(min(size, int(np.floor(high)) + 2 + margin))
    return starts, stops


def _prepared_window(
    volume: CTVolume,
    starts: list[int],
    stops: list[int],
    interpolation: Interpolation,
    sigma: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The window (z, y, x) as float32, smoothed and turned to spline coefficients as asked."""
    hu = volume.window((starts[2], starts[1], starts[0]), (stops[2], stops[1], stops[0]))
    window = _SCRATCH.array("window", hu.shape)
    window[:] = hu
    if sigma.any():
        window = ndimage.gaussian_filter(
            window, sigma[::-1], mode="nearest", truncate=_GAUSSIAN_REACH
        )
    if interpolation == "bspline":
        for axis, length in enumerate(window.shape):
            if length > 1:
                window = ndimage.spline_filter1d(
                    window, 3, axis=axis, output=np.float32, mode="mirror"
                )
    return window


def _inside(samples: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    reach = 0.5 + BORDER_TOLERANCE_VOXELS
    return (samples >= -reach) & (samples <= size - 1 + reach)


_Taps = list[tuple[NDArray[np.intp], NDArray[np.float64]]]
"""For each neighbour of the samples along an axis: its voxel and its weight, (samples,) each."""


def _weighted_sum(
    values: NDArray[np.float32], taps: _Taps, start: int, array_axis: int, name: str
) -> NDArray[np.float32]:
    """The samples along one axis, in the buffer of that name; ``values`` must lie in another."""
    weighing = [-1 if axis == array_axis else 1 for axis in range(3)]
    shape = list(values.shape)
    shape[array_axis] = len(taps[0][0])
    total, part = _SCRATCH.array(name, shape), _SCRATCH.array("part", shape)
    for number, (voxels, weights) in enumerate(taps):
        target = total if number == 0 else part
        # With "raise" NumPy would take by way of a buffer of its own.
        values.take(voxels - start, array_axis, out=target, mode="clip")
        target *= weights.astype(np.float32).reshape(weighing)
        if number:
            total += part
    return total


class _Scratch(threading.local):
    """Buffers of one thread that patch after patch reuses.

    Fresh ones of this size come from the operating system page by page, which takes longer than
    all the arithmetic.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.float32]] = {}

    def array(self, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """Uninitialised, valid until the next call with that name."""
        count = math.prod(shape)
        if count > _LARGEST_SCRATCH:
            return np.empty(shape, np.float32)
        if name not in self._buffers or self._buffers[name].size < count:
            self._buffers[name] = np.empty(count, np.float32)
        return self._buffers[name][:count].reshape(shape)


_SCRATCH = _Scratch()


def _linear_taps(samples: NDArray[np.float64], size: int) -> _Taps:
    index = np.clip(samples, 0, size - 1)
    lower = np.floor(index).astype(np.intp)
    fraction = index - lower
    return [(lower, 1.0 - fraction), (np.minimum(lower + 1, size - 1), fraction)]


def _bspline_taps(samples: NDArray[np.float64], size: int) -> _Taps:
    """Cubic B-spline at the four coefficients around each sample, mirrored at the border."""
    index = np.clip(samples, -0.5, size - 0.5)
    lower = np.floor(index).astype(np.intp)
    t = index - lower
    weights = (
        (1 - t) ** 3 / 6,
        2 / 3 - t**2 + t**3 / 2,
        2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2,
        t**3 / 6,
    )
    taps = []
    for step, weight in zip((-1, 0, 1, 2), weights, strict=True):
        mirrored = np.abs(lower + step)
        mirrored = np.where(mirrored > size - 1, 2 * (size - 1) - mirrored, mirrored)
        # The second turn is for scans of one or two voxels.
        taps.append((np.minimum(np.abs(mirrored), size - 1), weight))
    return taps


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


PROBABLY_RAS = "it is probably RAS"


def require_inside(volume: CTVolume, point: NDArray[np.float64], number: str = "point ") -> None:
    """Refuses a point (x, y, z) in LPS mm that lies outside the scan.

    Raises:
        PointOutsideScanError: it does; says the scan's extent, and whether it is probably RAS.
    """
    if bool(volume.contains(point)):
        return
    low, high = volume.extent_lps_mm()
    extent = ", ".join(
        f"{name} {a:.1f} to {b:.1f}" for name, a, b in zip("xyz", low, high, strict=True)
    )
    shown = ", ".join(f"{value:.1f}" for value in point)
    if bool(volume.contains(point * (-1.0, -1.0, 1.0))):
        remedy = (
            f"with the signs of x and y turned it lies inside, so {PROBABLY_RAS}: declare the "
            f"space as ras, or negate x and y"
        )
    else:
        remedy = "check that it belongs to this scan and is in LPS millimetres, not voxels"
    raise PointOutsideScanError(
        f"{number}({shown}) lies outside the scan {volume.series_uid}; expected LPS mm within "
        f"{extent}; {remedy}"
    )
