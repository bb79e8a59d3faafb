"""One slice of a whole scan, as radiologists look at it, with marks at points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.patheffects import withStroke

from nodulenet.ct import CTVolume
from nodulenet.ct.windows import Window, resolve_window
from nodulenet.errors import UsageError
from nodulenet.plots.montage import add_scale_bar
from nodulenet.plots.planes import PLANE_LETTERS, PLANES
from nodulenet.plots.style import FONT_SIZE, INK, MUTED, axes_for, literal

Plane = Literal["axial", "coronal", "sagittal"]

NEAR_MM = 4.0
"""A point is marked up to so far from the slice; on the slice itself with an unbroken line."""

_NORMAL = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The patient's axis (x, y, z) that the slices are perpendicular to."""

_SIDES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
"""The patient's axes across and down."""

_LETTER_PLACES = ((0.025, 0.5), (0.975, 0.5), (0.5, 0.97), (0.5, 0.03))
_MARK = "#e69f00"
_MARK_MM = 14.0


@dataclass(frozen=True)
class ScanSlice:
    """One slice of a scan, turned as radiologists look at it.

    The patient's right is on the left, in the sagittal plane anterior is; the head, and in the
    axial plane anterior, is up.

    Attributes:
        plane: ``axial``, ``coronal`` or ``sagittal``: the one next to the scan's own slices.
        number: of the slice, 0 being the one furthest to the feet, the front or the right.
        count: how many there are.
        image: int16 HU (rows, columns), a copy.
        spacing_mm: across and down.
        place_mm: LPS coordinate of the slice's centre along the normal of the plane.
        left_top_mm: LPS coordinates, across and down, of the centre of the first pixel, on the
            lines through the middle of the slice.
        right_bottom_mm: of the last pixel.
    """

    plane: Plane
    number: int
    count: int
    image: npt.NDArray[np.int16]
    spacing_mm: tuple[float, float]
    place_mm: float
    left_top_mm: tuple[float, float]
    right_bottom_mm: tuple[float, float]


@dataclass(frozen=True)
class _Axes:
    """Which index axes (x, y, z) of a scan lie along a plane's normal, across and down."""

    normal: int
    across: int
    down: int
    rising: tuple[bool, bool, bool]
    """Of these three, whether the shown order is that of the index."""

    @classmethod
    def of(cls, volume: CTVolume, plane: Plane) -> _Axes:
        index_of_patient = _nearest_axes(volume)
        patient = (_NORMAL[plane], *_SIDES[plane])
        normal, across, down = (index_of_patient[axis] for axis in patient)
        rising = [
            float(volume.direction[axis, index]) > 0
            for axis, index in zip(patient, (normal, across, down), strict=True)
        ]
        # z rises to the head, which is up, so that rows go against it.
        if patient[2] == 2:
            rising[2] = not rising[2]
        return cls(normal, across, down, (rising[0], rising[1], rising[2]))


def slice_count(volume: CTVolume, plane: Plane = "axial") -> int:
    """How many slices a scan has in a plane."""
    _check_plane(plane)
    return volume.shape[::-1][_Axes.of(volume, plane).normal]


def slice_at(volume: CTVolume, point_lps_mm: npt.ArrayLike, plane: Plane = "axial") -> int:
    """Number of the slice nearest to a point; a point outside the scan gives the outermost one.

    Args:
        volume: the scan.
        point_lps_mm: (x, y, z) in LPS mm.
        plane: as of :func:`scan_slice`. Defaults to "axial".
    """
    _check_plane(plane)
    axes = _Axes.of(volume, plane)
    count = slice_count(volume, plane)
    place = float(volume.index_of(point_lps_mm)[axes.normal])
    shown = place if axes.rising[0] else count - 1 - place
    return int(np.clip(np.floor(shown + 0.5), 0, count - 1))


def scan_slice(volume: CTVolume, number: int, plane: Plane = "axial") -> ScanSlice:
    """A slice of a scan; in an oblique scan that of its own grid, in the plane next to it.

    Args:
        volume: the scan; only the slice is read.
        number: of the slice, 0 being the one furthest to the feet, the front or the right.
        plane: "axial", "coronal" or "sagittal". Defaults to "axial".

    Raises:
        UsageError: an unknown plane, or no such slice.
    """
    count = slice_count(volume, plane)
    if not 0 <= number < count:
        raise UsageError(
            f"slice is {number}; expected 0 to {count - 1}, the {plane} slices of the scan"
        )
    axes = _Axes.of(volume, plane)
    index = number if axes.rising[0] else count - 1 - number
    start, stop = [0, 0, 0], list(volume.shape[::-1])
    start[axes.normal], stop[axes.normal] = index, index + 1
    read = volume.window(_zyx(start), _zyx(stop))
    # Of the array's axes (z, y, x) the index axis k is number 2 - k.
    image = read.transpose(2 - axes.normal, 2 - axes.down, 2 - axes.across)[0]
    image = image[:: 1 if axes.rising[2] else -1, :: 1 if axes.rising[1] else -1]
    rows, columns = image.shape
    across, down = _SIDES[plane]
    last = np.array([columns - 1.0, rows - 1.0])
    # The middles of the left, right, upper and lower side.
    pixels = last * [[0.0, 0.5], [1.0, 0.5], [0.5, 0.0], [0.5, 1.0]]
    left, right, top, bottom = _lps_of(volume, axes, index, pixels, (rows, columns))
    middle = (left + right) / 2
    return ScanSlice(
        plane=plane,
        number=number,
        count=count,
        image=np.ascontiguousarray(image),
        spacing_mm=(volume.spacing_mm[axes.across], volume.spacing_mm[axes.down]),
        place_mm=float(middle[_NORMAL[plane]]),
        left_top_mm=(float(left[across]), float(top[down])),
        right_bottom_mm=(float(right[across]), float(bottom[down])),
    )


def slice_figure(
    volume: CTVolume,
    number: int,
    plane: Plane = "axial",
    *,
    points_lps_mm: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    window: Window = "lung",
    ax: Axes | None = None,
) -> Figure:
    """A whole slice in grey, with a ring round each point on it or near it.

    The ticks are LPS millimetres: x rises to the patient's left, y to the back, z to the head. In
    a scan whose slices are oblique they hold on the lines through the middle of the slice; the
    rings are at the right pixel in every scan.

    Args:
        volume: the scan.
        number: of the slice, as of :func:`scan_slice`.
        plane: "axial", "coronal" or "sagittal". Defaults to "axial".
        points_lps_mm: (n, 3) x, y, z in LPS mm; those within 4 mm of the slice get a ring, dashed
            where another slice is nearer to them. Defaults to none.
        names: one short text a point. Defaults to none.
        window: a window of :mod:`nodulenet.ct.windows`. Defaults to "lung".
        ax: where to draw. Defaults to a new figure.

    Returns:
        The figure. The picture has the gid ``slice``, the ring of point i ``point-i``; both are in
        pixels, 0 at the centre of the first.

    Raises:
        UsageError: an unknown plane or window, no such slice, points of another shape, or another
            number of names.
    """
    shown = scan_slice(volume, number, plane)
    points, texts = named_points(points_lps_mm, names)
    low, high = resolve_window(window)
    rows, columns = shown.image.shape
    width_mm, height_mm = columns * shown.spacing_mm[0], rows * shown.spacing_mm[1]
    wide = 5.6
    tall = float(np.clip((wide - 0.7) * height_mm / width_mm, 1.8, 6.0))
    figure, ax = axes_for(ax, width=wide, height=tall + 0.8)
    ax.grid(visible=False)
    aspect = shown.spacing_mm[1] / shown.spacing_mm[0]
    image = ax.imshow(
        shown.image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest"
    )
    image.set_gid("slice")
    across, down = ("xyz"[axis] for axis in _SIDES[plane])
    for axis, name, first, last, count in (
        (ax.xaxis, across, shown.left_top_mm[0], shown.right_bottom_mm[0], columns),
        (ax.yaxis, down, shown.left_top_mm[1], shown.right_bottom_mm[1], rows),
    ):
        values = _round_values(first, last)
        share = (values - first) / ((last - first) or 1.0)
        axis.set_ticks(list(share * (count - 1)), labels=[f"{value:g}" for value in values])
        axis.set_label_text(f"{name} (mm, LPS)", fontsize=FONT_SIZE, color=MUTED)
    for (x, y), letter in zip(_LETTER_PLACES, PLANE_LETTERS[plane], strict=True):
        ax.text(
            x,
            y,
            letter,
            transform=ax.transAxes,
            ha="center",
            va="center",
            fontsize=FONT_SIZE + 1,
            color="white",
            path_effects=[withStroke(linewidth=1.5, foreground="black")],
        )
    add_scale_bar(ax, width_mm)
    for bar in ax.patches:
        if isinstance(bar, Rectangle):
            # A whole scan needs no bar as thick as that of a patch.
            bar.set_height(0.4 * bar.get_height())
    _mark_points(ax, volume, shown, points, texts)
    ax.set_title(literal(slice_words(shown)), fontsize=FONT_SIZE + 1, color=INK, loc="left")
    return figure


def slice_words(shown: ScanSlice) -> str:
    """Which slice it is and where, e.g. ``axial slice 57 of 120, z = -115.9 mm (LPS)``."""
    axis = "xyz"[_NORMAL[shown.plane]]
    return (
        f"{shown.plane} slice {shown.number + 1} of {shown.count}, "
        f"{axis} = {shown.place_mm:.1f} mm (LPS)"
    )


def pixel_of(
    volume: CTVolume, point_lps_mm: npt.ArrayLike, plane: Plane = "axial"
) -> tuple[float, float, float]:
    """Where a point lies in the slices of a plane: across, down and slice, in pixels from 0.

    Whole numbers are centres; they are those of :func:`scan_slice`'s images and numbers.
    """
    _check_plane(plane)
    axes = _Axes.of(volume, plane)
    index, counts = volume.index_of(point_lps_mm), volume.shape[::-1]
    slice_, across, down = (
        float(index[axis]) if rising else float(counts[axis] - 1 - index[axis])
        for axis, rising in zip((axes.normal, axes.across, axes.down), axes.rising, strict=True)
    )
    return across, down, slice_


def _mark_points(
    ax: Axes,
    volume: CTVolume,
    shown: ScanSlice,
    points: npt.NDArray[np.float64],
    texts: Sequence[str],
) -> None:
    apart_mm = volume.spacing_mm[_Axes.of(volume, shown.plane).normal]
    x_mm, y_mm = shown.spacing_mm
    for number, (point, text) in enumerate(zip(points, texts, strict=True)):
        across, down, place = pixel_of(volume, point, shown.plane)
        away = abs(place - shown.number)
        if away > 0.5 and away * apart_mm > NEAR_MM:
            continue
        line = "solid" if away <= 0.5 else (0, (2, 1.5))
        ring = Ellipse(
            (across, down),
            _MARK_MM / x_mm,
            _MARK_MM / y_mm,
            fill=False,
            edgecolor=_MARK,
            linewidth=1.3,
            linestyle=line,
            gid=f"point-{number}",
        )
        ax.add_patch(ring)
        if text:
            ax.annotate(
                literal(text),
                (across, down - 0.5 * _MARK_MM / y_mm),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=FONT_SIZE,
                color=_MARK,
                path_effects=[withStroke(linewidth=1.5, foreground="black")],
                clip_on=True,
            )


def _nearest_axes(volume: CTVolume) -> list[int]:
    """For each of the patient's axes (x, y, z) the index axis (x, y, z) that lies along it."""
    free, found = {0, 1, 2}, [0, 1, 2]
    # The clearest first: an oblique scan must not give one index axis to two of the patient's.
    strength = np.abs(volume.direction)
    for axis in sorted((0, 1, 2), key=lambda patient: -float(strength[patient].max())):
        found[axis] = max(free, key=lambda index: float(strength[axis, index]))
        free.discard(found[axis])
    return found


def _lps_of(
    volume: CTVolume,
    axes: _Axes,
    index: int,
    pixels: npt.NDArray[np.float64],
    shape: tuple[int, int],
) -> npt.NDArray[np.float64]:
    """LPS mm of pixels (n, 2), across and down, of the slice with that index."""
    rows, columns = shape
    places = np.empty((len(pixels), 3))
    places[:, axes.normal] = index
    places[:, axes.across] = pixels[:, 0] if axes.rising[1] else columns - 1 - pixels[:, 0]
    places[:, axes.down] = pixels[:, 1] if axes.rising[2] else rows - 1 - pixels[:, 1]
    return volume.points_of(places)


def _round_values(first: float, last: float) -> npt.NDArray[np.float64]:
    from matplotlib.ticker import MaxNLocator

    low, high = min(first, last), max(first, last)
    values = np.asarray(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(low, high))
    return values[(values >= low) & (values <= high)]


def named_points(
    points_lps_mm: npt.ArrayLike | None, names: Sequence[str] | None
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Points (n, 3) and a text each, empty where none was given.

    Raises:
        UsageError: points of another shape, or another number of names.
    """
    points = np.asarray(() if points_lps_mm is None else points_lps_mm, dtype=np.float64)
    points = points.reshape(-1, 3) if points.size in (0, 3) else points
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UsageError(
            f"points_lps_mm has shape {points.shape}; expected (n, 3) finite numbers (x, y, z) in "
            "LPS mm"
        )
    texts = [""] * len(points) if names is None else [str(name) for name in names]
    if len(texts) != len(points):
        raise UsageError(f"{len(texts)} names for {len(points)} points; give one each")
    return points, texts


def _zyx(xyz: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = xyz
    return z, y, x


def _check_plane(plane: str) -> None:
    if plane not in PLANES:
        raise UsageError(f"plane is {plane!r}; expected {', '.join(PLANES)}")
