"""Stored values to Hounsfield units, and the check that they can be Hounsfield units.

One rule for every format: HU are int16; values that are not whole are rounded, values below
-1024 (padding outside the field of view, stored as -2048, -3024 ... by different scanners and
converters) and NaN become -1024, values above 32767 become 32767. The lower bound is applied to
all formats alike, so that a scan gives the same answer whichever file it comes from. Padding is
thereby found in the pixels and not believed from the tag, which is often wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

AIR_HU = -1024
"""The lowest HU kept: air, and what padding and NaN are lifted to."""

MAX_HU = 32767
"""The highest HU kept (the end of int16)."""

_FAR_HU = 2**40
"""Far beyond every HU, and sums of it far within int64."""

NO_AIR_ABOVE_HU = -200
"""A chest CT without a single voxel below this value cannot be in HU."""


def to_hu(values: NDArray[Any], slope: float = 1.0, intercept: float = 0.0) -> NDArray[np.int16]:
    """Stored values to int16 HU by the rule of this module.

    Args:
        values: array of any shape and any real dtype.
        slope: factor, HU per stored unit.
        intercept: HU of the stored value 0.

    Returns:
        int16 HU of the same shape, in [-1024, 32767]; always a new array.
    """
    whole = np.issubdtype(values.dtype, np.integer)
    if whole and slope == 1.0 and float(intercept).is_integer() and abs(intercept) < _FAR_HU:
        if values.dtype.itemsize <= 2 and values.size and abs(intercept) <= MAX_HU:
            # Nearly all scans: no wider integers are needed, which halves the time. Copied first:
            # a window of a map is quicker to search when its rows lie together.
            values = np.array(values, order="C")
            low, high = int(values.min()), int(values.max())
            if max(high, high + intercept) <= MAX_HU and min(low, low + intercept) >= -MAX_HU:
                lifted: NDArray[np.int16] = values.astype(np.int16, copy=False)
                if intercept:
                    lifted += np.int16(intercept)
                if low + intercept < AIR_HU:
                    np.maximum(lifted, np.int16(AIR_HU), out=lifted)
                return lifted
        if values.dtype.itemsize > 4:
            values = np.minimum(values, 2 * _FAR_HU)
            values = values if values.dtype.kind == "u" else np.maximum(values, -2 * _FAR_HU)
        # int64 holds every int32 and uint32 plus an intercept without overflow.
        wide = np.int64 if values.dtype.itemsize >= 4 else np.int32
        return np.clip(values.astype(wide) + int(intercept), AIR_HU, MAX_HU).astype(np.int16)
    with np.errstate(over="ignore", invalid="ignore"):  # a damaged slope; clipped below
        scaled = values.astype(np.float64) * slope + intercept
    scaled = np.nan_to_num(scaled, nan=AIR_HU, posinf=MAX_HU, neginf=AIR_HU)
    return np.clip(np.rint(scaled), AIR_HU, MAX_HU).astype(np.int16)


def decoded_to_hu(
    values: NDArray[Any], slope: float = 1.0, intercept: float = 0.0
) -> NDArray[np.int16]:
    """:func:`to_hu` of a whole (z, y, x) volume, slice by slice to keep memory flat."""
    hu = np.empty(values.shape, np.int16)
    for index in range(len(values)):
        hu[index] = to_hu(values[index], slope, intercept)
    return hu


def has_air(hu: NDArray[Any]) -> bool:
    """Whether any value is as low as only lung, air or padding can be."""
    return bool(hu.size) and float(hu.min()) < NO_AIR_ABOVE_HU


def implausible_hu(low: float, high: float) -> str:
    """The warning for values of the range low..high, which cannot be HU of a chest CT."""
    if low >= 0 and high <= 255:
        guess = "they look windowed or normalised to 0..255"
    else:
        guess = "stored values without rescale, another modality, or a crop without lung"
    return (
        f"values range from {low:g} to {high:g}, without any below {NO_AIR_ABOVE_HU} HU: a chest "
        f"CT in HU holds air near -1000 ({guess}); give the scan in HU"
    )
