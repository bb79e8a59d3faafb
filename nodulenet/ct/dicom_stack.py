"""Slices of one DICOM series to a regular stack, or a refusal that says which slices and why.

Slices are ordered by their position along the normal of the image plane, never by file name or
instance number. Every gap is checked; gantry tilt is seen from the positions, not from its tag.
Standard: DICOM PS3.3 C.7.6.2.1.1 (image position and orientation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nodulenet.ct.dicom_header import ImageHeader
from nodulenet.ct.volume import SPACING_LIMITS_MM
from nodulenet.errors import GeometryError

Irregular = Literal["refuse", "resample"]
"""What to do with tilted or unevenly spaced slices."""

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of a direction cosine between slices, and from a right angle."""

PIXEL_SPACING_RTOL = 1e-3
"""Largest relative difference of the pixel spacing between slices."""

DUPLICATE_TOLERANCE_MM = 0.01
"""Slices closer than this along the normal lie at the same place."""

SLICE_POSITION_TOLERANCE_MM = 0.1
"""Largest distance of a slice from its place in the regular stack (rounded tags reach 0.05 mm);
never more than a fifth of the spacing."""

IN_PLANE_SHIFT_TOLERANCE_MM = 0.1
"""Largest shift of a slice within its plane against the first slice."""

LARGEST_BRIDGED_GAP_MM = 5.0
"""Largest distance of neighbouring slices over which resampling may interpolate: no more than
between the slices of a thick-slice chest CT."""

FARTHEST_MM = 1e6
"""A position this far off, or a direction cosine this large, is a damaged number."""

_NAMED_SLICES = 4

_RESAMPLE = (
    "to go on, let it be resampled onto a regular grid with --irregular resample "
    "(irregular='resample' in Python)"
)


@dataclass(frozen=True)
class Stack:
    """Slices in order along the normal, and their geometry in LPS mm.

    ``places_mm`` is None for a regular stack. For one that must be resampled it holds, slice by
    slice, the place along the row axis, the column axis and the normal, from the first slice;
    ``spacing_mm`` then has the usual distance of slices.
    """

    slices: tuple[ImageHeader, ...]
    spacing_mm: tuple[float, float, float]
    origin_lps_mm: tuple[float, float, float]
    direction: NDArray[np.float64]
    warnings: tuple[str, ...] = ()
    places_mm: NDArray[np.float64] | None = None


def stack_slices(
    where: str, headers: Sequence[ImageHeader], *, irregular: Irregular = "refuse"
) -> Stack:
    """Orders the slices of one series and checks that they form a regular stack.

    Args:
        where: path and series, as messages name them.
        headers: at least one slice of one series, in any order.
        irregular: "resample" lets uneven spacing (up to :data:`LARGEST_BRIDGED_GAP_MM`) and gantry
            tilt pass, for the caller to resample. Defaults to "refuse".

    Raises:
        GeometryError: a tag is missing, slices do not match, lie at the same place, are missing,
            unevenly spaced or tilted.
    """
    for name, tag in (
        ("position_lps_mm", "Image Position (Patient) (0020,0032)"),
        ("orientation", "Image Orientation (Patient) (0020,0037)"),
        ("pixel_spacing_mm", "Pixel Spacing (0028,0030)"),
    ):
        lacking = [header for header in headers if getattr(header, name) is None]
        if lacking:
            raise GeometryError(
                f"{where}: {tag} is missing in {_names(lacking)}; expected it in every slice; "
                "export the series again from the archive"
            )
    _check_matrix(where, headers)
    row, column = _plane(where, headers)
    normal = np.cross(row, column)
    positions = np.array([header.position_lps_mm for header in headers])
    wild = np.flatnonzero(~(np.abs(positions).max(axis=1) < FARTHEST_MM))
    if wild.size:
        raise GeometryError(
            f"{where}: Image Position (Patient) is {positions[wild[0]].tolist()} in "
            f"{headers[int(wild[0])].name}; expected finite millimetres; export the series again"
        )
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    ordered = tuple(headers[int(index)] for index in order)
    positions, along = positions[order], along[order]
    spacing_y, spacing_x = _pixel_spacing(where, ordered)
    warnings: tuple[str, ...] = ()
    direction = np.column_stack([row, column, normal])
    places = None
    if len(ordered) == 1:
        step, warnings = _single_slice(where, ordered[0])
    else:
        _check_duplicates(where, ordered, along)
        step = float((along[-1] - along[0]) / (len(along) - 1))
        faults = [
            *_uneven_steps(where, ordered, along),
            *_in_plane_shift(where, ordered, positions, along, normal),
        ]
        if faults and (irregular == "refuse" or not all(f.can_be_resampled for f in faults)):
            worst = next((f for f in faults if not f.can_be_resampled), faults[0])
            remedy = _RESAMPLE if worst.can_be_resampled else worst.remedy
            raise GeometryError(f"{worst.found}; {worst.expected}; {remedy}")
        if faults:
            warnings = tuple(f"{f.found}; resampled onto a regular grid, as asked" for f in faults)
            places = (positions - positions[0]) @ direction
            step = float(np.median(np.diff(along)))
    first = positions[0].tolist()
    return Stack(
        ordered,
        (spacing_x, spacing_y, step),
        (first[0], first[1], first[2]),
        direction,
        warnings,
        places,
    )


def _check_matrix(where: str, headers: Sequence[ImageHeader]) -> None:
    first = headers[0]
    others = [h for h in headers if (h.rows, h.columns) != (first.rows, first.columns)]
    if others:
        raise GeometryError(
            f"{where}: slices differ in matrix: {first.columns} x {first.rows} in "
            f"{first.name}, {others[0].columns} x {others[0].rows} in {_names(others)}; "
            "expected one size; separate the images that do not belong to the stack"
        )


def _plane(
    where: str, headers: Sequence[ImageHeader]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cosines = np.array([header.orientation for header in headers])
    wild = np.flatnonzero(~(np.abs(cosines).max(axis=1) < FARTHEST_MM))
    if wild.size:
        raise GeometryError(
            f"{where}: Image Orientation (Patient) is {cosines[wild[0]].tolist()} in "
            f"{headers[int(wild[0])].name}; expected direction cosines; export the series again"
        )
    difference = np.abs(cosines - cosines[0]).max(axis=1)
    if difference.max() > ORIENTATION_TOLERANCE:
        others = [headers[int(i)] for i in np.flatnonzero(difference > ORIENTATION_TOLERANCE)]
        raise GeometryError(
            f"{where}: slices differ in orientation by up to {difference.max():.3g} (tolerance "
            f"{ORIENTATION_TOLERANCE:g}): {_names(others)} against {headers[0].name}; "
            "expected parallel slices; separate the images that do not belong to the stack"
        )
    row, column = cosines[0, :3], cosines[0, 3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if (
        max(abs(length - 1.0) for length in lengths) > ORIENTATION_TOLERANCE
        or abs(float(row @ column)) > ORIENTATION_TOLERANCE
    ):
        raise GeometryError(
            f"{where}: Image Orientation (Patient) is {cosines[0].tolist()}; expected two unit "
            "vectors at a right angle; export the series again"
        )
    row = row / lengths[0]
    column = column - row * float(row @ column)
    return row, column / np.linalg.norm(column)


def _pixel_spacing(where: str, headers: Sequence[ImageHeader]) -> tuple[float, float]:
    spacings = np.array([header.pixel_spacing_mm for header in headers])
    low, high = SPACING_LIMITS_MM
    wild = np.flatnonzero(~((spacings >= low) & (spacings <= high)).all(axis=1))
    if wild.size:
        raise GeometryError(
            f"{where}: Pixel Spacing is {spacings[wild[0]].tolist()} in "
            f"{headers[int(wild[0])].name}; expected {low} to {high} mm; export the series again"
        )
    difference = np.abs(spacings / spacings[0] - 1.0).max(axis=1)
    if difference.max() > PIXEL_SPACING_RTOL:
        others = [headers[int(i)] for i in np.flatnonzero(difference > PIXEL_SPACING_RTOL)]
        raise GeometryError(
            f"{where}: slices differ in pixel spacing by {difference.max():.2%} (tolerance "
            f"{PIXEL_SPACING_RTOL:.1%}): {_names(others)} against {headers[0].name}; "
            "expected one spacing; separate the images that do not belong to the stack"
        )
    return float(spacings[0, 0]), float(spacings[0, 1])


def _single_slice(where: str, header: ImageHeader) -> tuple[float, tuple[str, ...]]:
    thickness = header.slice_thickness_mm
    if thickness is None or not np.isfinite(thickness) or thickness <= 0:
        raise GeometryError(
            f"{where}: holds a single slice without Slice Thickness (0018,0050); expected at "
            "least two slices or a thickness; give the whole series"
        )
    return thickness, (
        f"{where}: holds a single slice; its thickness {thickness:g} mm is taken as spacing",
    )


def _check_duplicates(
    where: str, headers: Sequence[ImageHeader], along: NDArray[np.float64]
) -> None:
    steps = np.diff(along)
    same = np.flatnonzero(steps < DUPLICATE_TOLERANCE_MM)
    if same.size:
        pairs = "; ".join(
            f"{headers[int(i)].name} and {headers[int(i) + 1].label}" for i in same[:_NAMED_SLICES]
        )
        raise GeometryError(
            f"{where}: {same.size} pairs of slices lie at the same place (closer than "
            f"{DUPLICATE_TOLERANCE_MM:g} mm): {pairs}{_more(same.size)}; expected one slice a "
            "place; remove the copies or separate the acquisitions"
        )


@dataclass(frozen=True)
class _Fault:
    """Why slices are no regular stack, and whether resampling puts it right without inventing."""

    found: str
    expected: str
    remedy: str
    can_be_resampled: bool


def _uneven_steps(
    where: str, headers: Sequence[ImageHeader], along: NDArray[np.float64]
) -> list[_Fault]:
    steps = np.diff(along)
    usual = float(np.median(steps))
    tolerance = min(SLICE_POSITION_TOLERANCE_MM, 0.2 * usual)
    regular = along[0] + np.arange(len(along)) * (along[-1] - along[0]) / (len(along) - 1)
    deviation = float(np.abs(along - regular).max())
    if deviation <= tolerance:
        return []
    bridged = float(steps.max()) <= LARGEST_BRIDGED_GAP_MM
    gaps = np.flatnonzero(steps > 1.5 * usual)
    if gaps.size:
        lost = int(np.rint(steps[gaps] / usual - 1).sum())
        between = "; ".join(
            f"{steps[int(i)]:.4g} mm between {headers[int(i)].label} and "
            f"{headers[int(i) + 1].label}"
            for i in gaps[:_NAMED_SLICES]
        )
        return [
            _Fault(
                f"{where}: about {lost} slices are missing, at {gaps.size} gaps where the spacing "
                f"of {usual:.4g} mm is exceeded: {between}{_more(gaps.size)}",
                "expected evenly spaced slices",
                f"fetch the missing ones (no gap above {LARGEST_BRIDGED_GAP_MM:g} mm is "
                "interpolated over)",
                bridged,
            )
        ]
    worst = int(np.argmax(np.abs(steps - usual)))
    return [
        _Fault(
            f"{where}: slices are unevenly spaced: {steps.min():.4g} to {steps.max():.4g} mm, up "
            f"to {deviation:.3g} mm off a regular stack (tolerance {tolerance:.3g} mm), worst "
            f"{steps[worst]:.4g} mm between {headers[worst].label} and {headers[worst + 1].label}",
            "expected one spacing",
            f"export the series again (no gap above {LARGEST_BRIDGED_GAP_MM:g} mm is interpolated "
            "over)",
            bridged,
        )
    ]


def _in_plane_shift(
    where: str,
    headers: Sequence[ImageHeader],
    positions: NDArray[np.float64],
    along: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> list[_Fault]:
    distance = along - along[0]
    shift = positions - positions[0] - distance[:, None] * normal
    amount = np.linalg.norm(shift, axis=1)
    if amount.max() <= IN_PLANE_SHIFT_TOLERANCE_MM:
        return []
    per_mm = shift[-1] / distance[-1]
    if np.linalg.norm(shift - distance[:, None] * per_mm, axis=1).max() <= max(
        IN_PLANE_SHIFT_TOLERANCE_MM, 0.02 * float(amount.max())
    ):
        angle = np.degrees(np.arctan(np.linalg.norm(per_mm)))
        return [
            _Fault(
                f"{where}: gantry tilt of {angle:.2f} degrees: the slices shift within their plane "
                f"by {amount.max():.3g} mm from {headers[0].label} to {headers[-1].label} "
                f"(tolerance {IN_PLANE_SHIFT_TOLERANCE_MM:g} mm)",
                "expected a stack along its normal",
                _RESAMPLE,
                True,
            )
        ]
    worst = int(np.argmax(amount))
    return [
        _Fault(
            f"{where}: slices are shifted within their plane by up to {amount.max():.3g} mm "
            f"(tolerance {IN_PLANE_SHIFT_TOLERANCE_MM:g} mm), worst {headers[worst].label} against "
            f"{headers[0].label}",
            "expected a stack along its normal",
            "separate the acquisitions",
            False,
        )
    ]


def _names(headers: Sequence[ImageHeader]) -> str:
    return ", ".join(h.name for h in headers[:_NAMED_SLICES]) + _more(len(headers))


def _more(count: int) -> str:
    return f" and {count - _NAMED_SLICES} more" if count > _NAMED_SLICES else ""
