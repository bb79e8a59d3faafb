"""The three planes through a finding, for its sheet: grey pixels, sides, what the model saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from nodulenet.ct import CTVolume
from nodulenet.ct.patch import extract_patches
from nodulenet.ct.windows import apply_window, resolve_window
from nodulenet.errors import DataError
from nodulenet.inference.outputs.sources import Saliency
from nodulenet.plots.montage import scale_bar_mm
from nodulenet.plots.planes import PLANE_LETTERS, PLANES

WINDOW = "lung"
PIXELS = 200
"""Rows and columns of a plane."""
SIDE_MM = 60.0
"""Width of a plane, where the nodule is not larger than that allows."""
LARGEST_SIDE_MM = 150.0
_SIDE_PER_DIAMETER = 2.5
_FREE_MM = 8.0
"""Radius about the centre that the cross-hair leaves free, at least."""
_FREE_PER_DIAMETER = 0.75
_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class SheetView:
    """One plane, as radiologists look at it: the patient's right, or the front, on the left.

    Attributes:
        name: axial, coronal or sagittal.
        grey: uint8 (rows, columns) in the lung window, the first row on top; square.
        side_mm: width and height.
        letters: what lies on the left, right, upper and lower side.
        free_mm: radius about the centre that the cross-hair leaves free.
        bar_mm: length of the scale bar.
        saliency: -1..1 of the shape of ``grey``, or None.
    """

    name: str
    grey: npt.NDArray[np.uint8]
    side_mm: float
    letters: tuple[str, str, str, str]
    free_mm: float
    bar_mm: float
    saliency: npt.NDArray[np.float64] | None


def window_text() -> str:
    """``lung window, -1000 to 400 HU``."""
    low, high = resolve_window(WINDOW)
    return f"{WINDOW} window, {low:.0f} to {high:.0f} HU"


def views_of(
    volume: CTVolume,
    points_lps_mm: npt.NDArray[np.float64],
    diameters_mm: Sequence[float | None],
    saliency: Sequence[Saliency | None],
) -> list[tuple[SheetView, ...]]:
    """The planes of every point.

    Args:
        volume: the scan.
        points_lps_mm: (n, 3) x, y, z in LPS mm.
        diameters_mm: of the nodules, None where not known.
        saliency: a map a point, None where there is none.

    Returns:
        Axial, coronal and sagittal view, a tuple a point.

    Raises:
        PointOutsideScanError: a point lies outside the scan.
        DataError: a map is no array of finite numbers, or its affine cannot be used.
    """
    sides = np.array([_side_mm(diameter) for diameter in diameters_mm])
    grey = np.zeros((len(points_lps_mm), PIXELS, PIXELS, len(PLANES)), np.uint8)
    for side in np.unique(sides):
        rows = np.flatnonzero(sides == side)
        for some in np.array_split(rows, -(-len(rows) // _AT_ONCE)):
            step = side / PIXELS
            hu = extract_patches(
                volume, points_lps_mm[some], (PIXELS, PIXELS), (step, step, step), form="2.5d"
            )
            grey[some] = np.round(255 * apply_window(hu, WINDOW))
    return [
        _views(grey[i], float(sides[i]), diameters_mm[i], points_lps_mm[i], saliency[i])
        for i in range(len(points_lps_mm))
    ]


def _side_mm(diameter_mm: float | None) -> float:
    if diameter_mm is None:
        return SIDE_MM
    # In whole tens, so that few different sizes are cut and the bars are easy to compare.
    needed = 10.0 * np.ceil(_SIDE_PER_DIAMETER * diameter_mm / 10.0)
    return float(np.clip(needed, SIDE_MM, LARGEST_SIDE_MM))


def _views(
    grey: npt.NDArray[np.uint8],
    side: float,
    diameter: float | None,
    point: npt.NDArray[np.float64],
    saliency: Saliency | None,
) -> tuple[SheetView, ...]:
    maps = (None, None, None) if saliency is None else _planes_of(saliency, point, side)
    free = min(max(_FREE_MM, _FREE_PER_DIAMETER * (diameter or 0.0)), 0.45 * side)
    return tuple(
        SheetView(
            name=name,
            # Rows rise to the back, which is down, but to the head, which is up.
            grey=grey[:, :, i] if name == "axial" else grey[::-1, :, i],
            side_mm=side,
            letters=PLANE_LETTERS[name],
            free_mm=free,
            bar_mm=scale_bar_mm(side),
            saliency=maps[i],
        )
        for i, name in enumerate(PLANES)
    )


def _planes_of(
    saliency: Saliency, point: npt.NDArray[np.float64], side: float
) -> tuple[npt.NDArray[np.float64] | None, ...]:
    """The map on the pixels of the three planes, its largest absolute value 1, 0 outside it.

    A map of an axial plane has nothing to say in the others.
    """
    values, affine = np.asarray(saliency[0], dtype=np.float64), np.asarray(saliency[1], dtype=float)
    flat = values.ndim == 2 or values.shape[0] == 1
    values = values[np.newaxis] if values.ndim == 2 else values
    if (
        values.ndim != 3
        or affine.shape != (4, 4)
        or not (np.isfinite(values).all() and np.isfinite(affine).all())
        or abs(np.linalg.det(affine[:3, :3])) < 1e-9
    ):
        raise DataError(
            f"saliency: has shape {values.shape} and an affine of shape {affine.shape}; expected "
            f"finite (z, y, x) and an invertible 4 x 4 from index (x, y, z) to LPS mm; write the "
            f"map again"
        )
    values = values / (np.abs(values).max(initial=0.0) or 1.0)
    steps = (np.arange(PIXELS) - (PIXELS - 1) / 2) * side / PIXELS
    down, across = np.meshgrid(steps, steps, indexing="ij")
    none = np.zeros_like(down)
    offsets = ((across, down, none), (across, none, -down), (none, across, -down))
    return tuple(
        None if flat and name != "axial" else _sampled(values, affine, point, offset)
        for name, offset in zip(PLANES, offsets, strict=True)
    )


def _sampled(
    values: npt.NDArray[np.float64],
    affine: npt.NDArray[np.float64],
    point: npt.NDArray[np.float64],
    offset: tuple[npt.NDArray[np.float64], ...],
) -> npt.NDArray[np.float64]:
    places = point + np.stack(offset, axis=-1)
    index = (places - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    index_zyx = np.moveaxis(index[..., ::-1], -1, 0)
    last = np.array(values.shape).reshape(3, 1, 1) - 0.5
    inside = ((index_zyx >= -0.5 - 1e-6) & (index_zyx <= last + 1e-6)).all(axis=0)
    sampled = map_coordinates(values, index_zyx, order=1, mode="nearest")
    return np.where(inside, sampled, 0.0)
