"""Points outside their scan: in which other reading of their numbers they would lie inside.

Wrong numbers are mostly right ones in another space or order. Each other reading is tried, and the
message says whether it would fit; which one is meant is for people to declare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nodulenet.ct.volume import CTVolume
from nodulenet.errors import PointOutsideScanError

Space = Literal["lps", "ras", "voxel"]

PROBABLY_RAS = "it is probably RAS"

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class _Reading:
    """One way to take three numbers: their space, and whether the last of them is x."""

    space: Space
    reversed: bool

    def place(self, volume: CTVolume, numbers: Numbers) -> Numbers:
        """LPS mm, (n, 3)."""
        ordered = numbers[:, ::-1] if self.reversed else numbers
        return _SPACES[self.space](volume, ordered)


_SPACES: dict[Space, Callable[[CTVolume, Numbers], Numbers]] = {
    "lps": lambda _, numbers: numbers,
    "ras": lambda _, numbers: numbers * [-1.0, -1.0, 1.0],
    "voxel": lambda volume, numbers: volume.points_of(numbers),
}
_READINGS = tuple(_Reading(s, r) for r in (False, True) for s in ("lps", "ras", "voxel"))


def require_inside(volume: CTVolume, point: Numbers, number: str = "point ") -> None:
    """Refuses a point (x, y, z) in LPS mm that lies outside the scan.

    Raises:
        PointOutsideScanError: it does; says the scan's extent, and whether it would lie inside as
            RAS, as voxel indices or in the order z, y, x.
    """
    if bool(volume.contains(point)):
        return
    raise PointOutsideScanError(
        f"{number}({_shown(point)}) lies outside the scan {volume.series_uid}; expected LPS mm "
        f"within {_extent(volume)}; {explain_outside(volume, point[None])}"
    )


def require_some_inside(
    volume: CTVolume, points_lps_mm: Numbers, where: str, *, space: Space = "lps"
) -> None:
    """Refuses points that all lie outside the scan: they are of another scan or another space.

    Args:
        volume: the scan.
        points_lps_mm: (n, 3) x, y, z; none is fine.
        where: what to call them in the error.
        space: what they were declared as before they became LPS. Defaults to "lps".

    Raises:
        PointOutsideScanError: all lie outside; says what would fit.
    """
    if not len(points_lps_mm) or bool(volume.contains(points_lps_mm).any()):
        return
    count = len(points_lps_mm)
    what = "the only point lies" if count == 1 else f"all {count} points lie"
    raise PointOutsideScanError(
        f"{where}: {what} outside the scan {volume.series_uid}, the first at "
        f"({_shown(points_lps_mm[0])}) LPS mm; expected {_extent(volume)}; "
        f"{explain_outside(volume, points_lps_mm, space=space)}"
    )


def explain_outside(volume: CTVolume, points_lps_mm: Numbers, *, space: Space = "lps") -> str:
    """What may be wrong with points that lie outside the scan, and what to do, on one line.

    Args:
        volume: the scan.
        points_lps_mm: (n, 3) x, y, z, all outside.
        space: what they were declared as before they became LPS. Defaults to "lps".
    """
    numbers = _as_written(volume, points_lps_mm, space)
    count = len(numbers)
    inside = {
        reading: int(volume.contains(reading.place(volume, numbers)).sum())
        for reading in _READINGS
        if reading != _Reading(space, False)
    }
    best = max(inside, key=lambda reading: inside[reading])  # of equals the first, the likeliest
    if inside[best] == 0:
        spaces = {"lps": "as LPS mm", "ras": "as RAS mm", "voxel": "as voxel indices"}
        tried = ", ".join(text for name, text in spaces.items() if name != space)
        who, belongs = ("it", "it belongs") if count == 1 else ("they", "they belong")
        return (
            f"{who} would lie outside {tried} and in the order z, y, x, too: check that {belongs} "
            f"to this scan"
        )
    others = [r for r in inside if r != best and inside[r] == inside[best]]
    also = f" ({', '.join(_name(r, space) for r in others)} would fit, too)" if others else ""
    lie = "it lies" if count == 1 else f"{inside[best]} of {count} lie"
    return f"{_name(best, space)} {lie} inside{also}, so {_advice(best, space)}"


def _as_written(volume: CTVolume, points: Numbers, space: Space) -> Numbers:
    if space == "voxel":
        return volume.index_of(points)
    return points * [-1.0, -1.0, 1.0] if space == "ras" else points


def _name(reading: _Reading, declared: Space) -> str:
    order = ("slice, row, column" if reading.reversed else "column, row, slice").join("()")
    if reading.space == "voxel":
        return f"as voxel indices {order}"
    turned = {reading.space, declared} == {"lps", "ras"}
    space = "with the signs of x and y turned" if turned else f"as {reading.space.upper()} mm"
    if reading.reversed:
        same = reading.space == declared
        return "in the order z, y, x" if same else f"{space} and in the order z, y, x"
    return space


def _advice(reading: _Reading, declared: Space) -> str:
    if reading == _Reading("ras", False):
        turn = ", or negate x and y" if declared == "lps" else ""
        return f"{PROBABLY_RAS}: declare the space as ras{turn}"
    steps = []
    if reading.space != declared:
        steps.append(f"declare the space as {reading.space}")
    if reading.reversed:
        steps.append("put x (the column) first")
    return f"if that is what is meant, {' and '.join(steps)}"


def _shown(point: Numbers) -> str:
    return ", ".join(f"{value:.1f}" for value in point)


def _extent(volume: CTVolume) -> str:
    low, high = volume.extent_lps_mm()
    return ", ".join(
        f"{name} {a:.1f} to {b:.1f}" for name, a, b in zip("xyz", low, high, strict=True)
    )
