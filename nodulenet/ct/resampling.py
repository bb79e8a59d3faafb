"""The kernel: a scan resampled around a point from a small window, one axis after the other.

Rules at the border are those of :mod:`nodulenet.ct.patch`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nodulenet.ct.sources import Shape
from nodulenet.ct.volume import BORDER_TOLERANCE_VOXELS, CTVolume

Interpolation = Literal["linear", "bspline"]

ALIGNED_TOLERANCE_VOXELS = 1e-6
"""A patch whose samples leave the scan's axes by no more than this takes the separable path."""

_SPLINE_MARGIN = 12
"""Voxels around a window for B-spline coefficients: what is cut off weighs 0.268^12 = 1e-7."""

_GAUSSIAN_REACH = 4.0
"""Standard deviations of the antialiasing filter that are read around a window."""

_LARGEST_SCRATCH = 2**22
"""Voxels of the largest buffer that is kept from patch to patch (16 MiB)."""


@dataclass(frozen=True)
class Grid:
    """Offsets of the samples from the point along x, y, z, in LPS mm."""

    offsets_mm: tuple[NDArray[np.float64], ...]

    @classmethod
    def around(cls, shape_zyx: Shape, spacing_mm: tuple[float, ...]) -> Grid:
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


def resample(
    volume: CTVolume,
    point: NDArray[np.float64],
    grid: Grid,
    interpolation: Interpolation,
    outside_hu: float,
    antialias: bool,
    out: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """The scan at the samples of a grid around a point (x, y, z) in LPS mm: float32 (z, y, x).

    With ``out``, C-contiguous and of that shape, it is written there.
    """
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


def _aligned_axes(index_per_mm: NDArray[np.float64], grid: Grid) -> list[int] | None:
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
    grid: Grid,
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
    grid: Grid,
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
