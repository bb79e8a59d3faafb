"""What the scanner adds: the reconstruction kernel's blur or sharpness, and its noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from nodulenet.phantom.raster import FloatArray, Grid

PADDING_HU = -2048
"""Value outside the round field of view in the scans that have one, as GE scanners write it."""

LOWEST_HU, HIGHEST_HU = -1024, 3071


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel.

    Args:
        name: `"soft"`, `"standard"` or `"sharp"`.
        blur_mm: Standard deviation of the image's in-plane blur, mm.
        boost: Edge enhancement, 0 for none.
        grain_mm: Standard deviation of the noise's in-plane correlation, mm.
        noise_hu: Range of the noise's standard deviation in soft tissue, HU.
    """

    name: str
    blur_mm: float
    boost: float
    grain_mm: float
    noise_hu: tuple[float, float]


# The grain of "standard" gives neighbours a correlation of about 0.6, as measured in the heart of
# LIDC-IDRI-0001 (GE, standard kernel, 0.70 mm pixels: 0.55 to 0.65 and 11 to 15 HU).
KERNELS = (
    Kernel("soft", 0.60, 0.0, 0.62, (8.0, 15.0)),
    Kernel("standard", 0.45, 0.0, 0.49, (11.0, 22.0)),
    Kernel("sharp", 0.30, 0.10, 0.32, (20.0, 38.0)),
)


def _taps(width_pixels: float, boost: float) -> NDArray[np.float64]:
    reach = 2 if width_pixels > 0.45 else 1
    place = np.arange(-reach, reach + 1)
    taps = np.exp(-0.5 * (place / width_pixels) ** 2)
    taps /= taps.sum()
    sharpen = np.array([-boost, 1 + 2 * boost, -boost])
    return np.convolve(taps, sharpen) if boost else taps


def _mottle(rng: np.random.Generator, grid: Grid, pitch_mm: float) -> tuple[FloatArray, ...]:
    """Returns a coarse random field and, for each fine row and column, where to read it."""
    sizes = [int(2 * half / pitch_mm) + 3 for half in grid.half_extent_mm[::-1]]
    field = rng.standard_normal(sizes, dtype=np.float32)
    places = [
        (np.arange(n) * step / pitch_mm).astype(np.float32)
        for n, step in zip(grid.shape, grid.spacing_mm[::-1], strict=True)
    ]
    return field, *places


def _read(field: FloatArray, place: FloatArray, axis: int) -> FloatArray:
    low = place.astype(np.int64)
    weight = place - low
    shape = [1] * field.ndim
    shape[axis] = len(place)
    weight = weight.reshape(shape).astype(np.float32)
    first, second = np.take(field, low, axis=axis), np.take(field, low + 1, axis=axis)
    return first + weight * (second - first)


def expose(
    volume: FloatArray,
    grid: Grid,
    kernel: Kernel,
    rng: np.random.Generator,
    *,
    sigma_hu: float,
    padded: bool,
) -> NDArray[np.int16]:
    """Turns ideal HU into a scan's pixels: mottle of the lung, kernel, noise, padding, rounding.

    Args:
        volume: Ideal HU, float32 (z, y, x).
        grid: The volume's grid.
        kernel: The reconstruction kernel.
        rng: Source of the noise.
        sigma_hu: Standard deviation of the noise in soft tissue, HU.
        padded: Whether pixels outside the round field of view hold `PADDING_HU`.

    Returns:
        HU, int16 (z, y, x).
    """
    blur = _taps(kernel.blur_mm / grid.edge_mm, kernel.boost)
    grain = _taps(kernel.grain_mm / grid.edge_mm, 1.6 * kernel.boost)
    gain = np.float32(sigma_hu / np.sum(grain**2) / np.sqrt(1 + 0.35**2))
    field, deep, down, right = _mottle(rng, grid, 5.0)
    field = _read(field, deep, 0)
    x, y = grid.x_mm[None, :], grid.y_mm[:, None]
    radius2 = (x / grid.half_extent_mm[0]) ** 2 + (y / grid.half_extent_mm[1]) ** 2
    # More noise where the rays cross more tissue.
    dose = (gain * (1.15 - 0.35 * np.clip(radius2, 0, 1.3))).astype(np.float32)
    outside = radius2 > 1.0
    out = np.empty(grid.shape, dtype=np.int16)
    previous = rng.standard_normal(grid.shape[1:], dtype=np.float32)
    for index in range(grid.shape[0]):
        image = volume[index]
        lung = (image < -700) & (image > -930)
        coarse = _read(_read(field[index], down, 0), right, 1)
        image = image + lung * coarse * np.float32(14.0)
        image = correlate1d(correlate1d(image, blur, 0, mode="nearest"), blur, 1, mode="nearest")
        white = rng.standard_normal(grid.shape[1:], dtype=np.float32)
        mixed = white + np.float32(0.35) * previous
        previous = white
        mixed = correlate1d(correlate1d(mixed, grain, 0, mode="wrap"), grain, 1, mode="wrap")
        mixed *= dose
        image += mixed
        np.rint(image, out=image)
        np.clip(image, LOWEST_HU, HIGHEST_HU, out=image)
        out[index] = image
        if padded:
            out[index][outside] = PADDING_HU
    return out
