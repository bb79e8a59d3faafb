"""A patch in its three orthogonal planes, as radiologists look at it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from nodulenet.ct.windows import Window, resolve_window
from nodulenet.errors import UsageError
from nodulenet.plots.montage import add_saliency, add_scale_bar
from nodulenet.plots.style import FONT_SIZE, INK, MUTED, literal

PLANES = ("axial", "coronal", "sagittal")

_MARK = "#e69f00"
_MARK_SHARE = 0.1
"""Length of the marks at the borders that point to the centre, of half the plane's side."""

_LETTER_PLACES = ((0.08, 0.5), (0.92, 0.5), (0.5, 0.92), (0.5, 0.08))
"""Left, right, top and bottom, in shares of the plane."""


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
    sides = (
        ("x", "y", ("R", "L", "A", "P")),
        ("x", "z", ("R", "L", "S", "I")),
        ("y", "z", ("A", "P", "S", "I")),
    )
    figure = Figure(figsize=(8.0, 3.1), layout="constrained")
    figure.patch.set_alpha(0.0)
    if title:
        figure.suptitle(literal(title), fontsize=FONT_SIZE + 1, color=INK)
    for ax, name, plane, overlay, (across, down, letters) in zip(
        figure.subplots(1, 3), PLANES, middle_planes(hu), overlays, sides, strict=True
    ):
        half_x = size[across] * spacing[across] / 2
        half_y = size[down] * spacing[down] / 2
        # y rises to the back, which is down; z rises to the head, which is up.
        bottom, top = (half_y, -half_y) if down == "y" else (-half_y, half_y)
        extent = (-half_x, half_x, bottom, top)
        ax.imshow(plane, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="nearest")
        if overlay is not None:
            add_saliency(ax, overlay, extent=extent)
        for start, stop in ((-1.0, -1.0 + _MARK_SHARE), (1.0 - _MARK_SHARE, 1.0)):
            ax.plot((start * half_x, stop * half_x), (0, 0), color=_MARK, linewidth=1.2)
            ax.plot((0, 0), (start * half_y, stop * half_y), color=_MARK, linewidth=1.2)
        for (x, y), letter in zip(_LETTER_PLACES, letters, strict=True):
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
        ax.set_title(name, fontsize=FONT_SIZE, color=INK)
        ax.set_xlabel("mm", fontsize=FONT_SIZE - 1, color=MUTED)
        ax.tick_params(labelsize=FONT_SIZE - 1, colors=MUTED, width=0.6, length=2)
    return figure


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
