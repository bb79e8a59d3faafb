"""A patch in its three orthogonal planes, as radiologists look at it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from nodulenet.ct.windows import Window, resolve_window
from nodulenet.errors import UsageError
from nodulenet.plots.montage import add_saliency, add_scale_bar
from nodulenet.plots.style import FONT_SIZE, INK, MUTED, literal

PLANES = ("axial", "coronal", "sagittal")

PLANE_LETTERS = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
"""What lies on the left, right, upper and lower side: the patient's right, left, anterior, ..."""

_SIDES = (("x", "y"), ("x", "z"), ("y", "z"))
"""Axes across and down."""

_MARK = "#e69f00"
_MARK_SHARE = 0.1
"""Length of the marks at the borders that point to the centre, of half the plane's side."""

_LETTER_PLACES = ((0.08, 0.5), (0.92, 0.5), (0.5, 0.92), (0.5, 0.08))
"""Left, right, top and bottom, in shares of the plane."""

_PLACES_BESIDE = ((0.05, 0.545), (0.95, 0.545), (0.545, 0.95), (0.545, 0.05))


def planes_figure(
    hu: npt.NDArray[np.floating] | npt.NDArray[np.integer],
    spacing_mm: tuple[float, float, float],
    *,
    window: Window = "lung",
    title: str = "",
    saliency: npt.NDArray[np.floating] | None = None,
) -> Figure:
    """Axial, coronal and sagittal plane through the centre, in true proportions.

    Shown as in radiology: in the axial and coronal plane the patient's right is on the left, in
    the sagittal one anterior is on the left; the head is up. Marks at the borders point to the
    centre, ticks are millimetres from it, and a bar has its length written beside it.

    Args:
        hu: (z, y, x) along the patient's axes, as :func:`nodulenet.ct.extract_patch` gives it.
        spacing_mm: (x, y, z).
        window: a window of :mod:`nodulenet.ct.windows`. Defaults to "lung".
        title: above the planes. Defaults to none.
        saliency: (z, y, x) as ``hu``, -1..1, laid over it in colour: orange speaks for the
            positive class, blue against it. Defaults to none.

    Returns:
        The figure.

    Raises:
        UsageError: not three axes, a saliency of another shape, or an unknown window.
    """
    if hu.ndim != 3:
        raise UsageError(f"planes: patch has shape {hu.shape}; expected (z, y, x)")
    if saliency is not None and saliency.shape != hu.shape:
        raise UsageError(
            f"planes: saliency has shape {saliency.shape}; expected that of the patch, {hu.shape}"
        )
    low, high = resolve_window(window)
    spacing = dict(zip("xyz", spacing_mm, strict=True))
    size = dict(zip("zyx", hu.shape, strict=True))
    overlays: tuple[npt.NDArray[np.floating] | None, ...] = (None, None, None)
    if saliency is not None:
        overlays = middle_planes(saliency)
    figure = Figure(figsize=(8.0, 3.1), layout="constrained")
    figure.patch.set_alpha(0.0)
    if title:
        figure.suptitle(literal(title), fontsize=FONT_SIZE + 1, color=INK)
    for ax, name, plane, overlay, (across, down) in zip(
        figure.subplots(1, 3), PLANES, middle_planes(hu), overlays, _SIDES, strict=True
    ):
        letters = PLANE_LETTERS[name]
        half_x = size[across] * spacing[across] / 2
        half_y = size[down] * spacing[down] / 2
        # y rises to the back, which is down; z rises to the head, which is up.
        bottom, top = (half_y, -half_y) if down == "y" else (-half_y, half_y)
        extent = (-half_x, half_x, bottom, top)
        draw_plane(
            ax,
            plane,
            extent=extent,
            limits=(low, high),
            letters=letters,
            free_mm=((1.0 - _MARK_SHARE) * half_x, (1.0 - _MARK_SHARE) * half_y),
            saliency=overlay,
        )
        ax.set_title(name, fontsize=FONT_SIZE, color=INK)
        ax.set_xlabel("mm", fontsize=FONT_SIZE - 1, color=MUTED)
        ax.tick_params(labelsize=FONT_SIZE - 1, colors=MUTED, width=0.6, length=2)
    return figure


def draw_plane(
    ax: Axes,
    image: npt.NDArray[np.floating] | npt.NDArray[np.integer],
    *,
    extent: tuple[float, float, float, float],
    limits: tuple[float, float],
    letters: tuple[str, str, str, str],
    free_mm: tuple[float, float],
    saliency: npt.NDArray[np.floating] | None = None,
    interpolation: str = "nearest",
) -> None:
    """One plane in grey, with lines that lead to its centre, letters of the sides, a scale bar.

    Args:
        ax: where to draw.
        image: (rows, columns), the first row on top.
        extent: left, right, bottom and top in mm from the centre.
        limits: values that are black and white.
        letters: of the left, right, upper and lower side.
        free_mm: half width and half height about the centre that the lines leave free.
        saliency: of the image's shape, -1..1. Defaults to none.
        interpolation: of Matplotlib; "none" keeps the pixels in a PDF. Defaults to "nearest".
    """
    low, high = limits
    ax.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation=interpolation)
    if saliency is not None:
        add_saliency(ax, saliency, extent=extent, interpolation=interpolation)
    left, right, bottom, top = extent
    half_x, half_y = abs(right - left) / 2, abs(top - bottom) / 2
    for side in (-1.0, 1.0):
        ax.plot((side * half_x, side * free_mm[0]), (0, 0), color=_MARK, linewidth=1.2)
        ax.plot((0, 0), (side * half_y, side * free_mm[1]), color=_MARK, linewidth=1.2)
    # Beside a line where there is one.
    places = _PLACES_BESIDE if free_mm[0] < 0.8 * half_x else _LETTER_PLACES
    for (x, y), letter in zip(places, letters, strict=True):
        ax.text(
            x,
            y,
            letter,
            transform=ax.transAxes,
            ha="center",
            va="center",
            fontsize=FONT_SIZE,
            color="white",
            path_effects=[withStroke(linewidth=1.5, foreground="black")],
        )
    add_scale_bar(ax, 2 * half_x)


def middle_planes(
    volume: npt.NDArray[np.floating] | npt.NDArray[np.integer],
) -> tuple[
    npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]
]:
    """Axial, coronal and sagittal plane through the centre, rows from top to bottom as shown.

    With an even number of slices a plane is the mean of the middle two.

    Args:
        volume: (z, y, x) along the patient's axes: x to the left, y to the back, z to the head.

    Returns:
        Float arrays (y, x), (z, x) and (z, y), the latter two with the head in the first row.
    """
    return _middle(volume, 0), _middle(volume, 1)[::-1], _middle(volume, 2)[::-1]


def _middle(
    volume: npt.NDArray[np.floating] | npt.NDArray[np.integer], axis: int
) -> npt.NDArray[np.floating]:
    count = volume.shape[axis]
    both = np.take(volume, [(count - 1) // 2, count // 2], axis)
    plane: npt.NDArray[np.floating] = both.mean(axis=axis)
    return plane
