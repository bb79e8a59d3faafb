"""A patch in its three orthogonal planes, as radiologists look at it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from nodulenet.ct.windows import Window, resolve_window
from nodulenet.errors import UsageError
from nodulenet.plots.style import FONT_SIZE, INK, MUTED, literal

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
) -> Figure:
    """Axial, coronal and sagittal plane through the centre, in true proportions.

    Shown as in radiology: in the axial and coronal plane the patient's right is on the left, in
    the sagittal one anterior is on the left; the head is up. Marks at the borders point to the
    centre, ticks are millimetres from it.

    Args:
        hu: (z, y, x) along the patient's axes, as :func:`nodulenet.ct.extract_patch` gives it.
        spacing_mm: (x, y, z).
        window: a window of :mod:`nodulenet.ct.windows`. Defaults to "lung".
        title: above the planes. Defaults to none.

    Returns:
        The figure.

    Raises:
        UsageError: not three axes, or an unknown window.
    """
    if hu.ndim != 3:
        raise UsageError(f"planes: patch has shape {hu.shape}; expected (z, y, x)")
    low, high = resolve_window(window)
    spacing = dict(zip("xyz", spacing_mm, strict=True))
    size = dict(zip("zyx", hu.shape, strict=True))
    planes = (
        ("axial", _middle(hu, 0), "x", "y", ("R", "L", "A", "P")),
        ("coronal", _middle(hu, 1), "x", "z", ("R", "L", "S", "I")),
        ("sagittal", _middle(hu, 2), "y", "z", ("A", "P", "S", "I")),
    )
    figure = Figure(figsize=(8.0, 3.1), layout="constrained")
    figure.patch.set_alpha(0.0)
    if title:
        figure.suptitle(literal(title), fontsize=FONT_SIZE + 1, color=INK)
    for ax, (name, plane, across, up, letters) in zip(figure.subplots(1, 3), planes, strict=True):
        half_x = size[across] * spacing[across] / 2
        half_y = size[up] * spacing[up] / 2
        # Rows of the axial plane run to the back, of the others to the head.
        origin: Literal["upper", "lower"] = "upper" if up == "y" else "lower"
        bottom, top = (half_y, -half_y) if up == "y" else (-half_y, half_y)
        ax.imshow(
            plane,
            cmap="gray",
            vmin=low,
            vmax=high,
            origin=origin,
            extent=(-half_x, half_x, bottom, top),
            interpolation="nearest",
        )
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
        ax.set_title(name, fontsize=FONT_SIZE, color=INK)
        ax.set_xlabel("mm", fontsize=FONT_SIZE - 1, color=MUTED)
        ax.tick_params(labelsize=FONT_SIZE - 1, colors=MUTED, width=0.6, length=2)
    return figure


def _middle(
    hu: npt.NDArray[np.floating] | npt.NDArray[np.integer], axis: int
) -> npt.NDArray[np.floating]:
    """The plane through the centre; with an even number of slices the mean of the middle two."""
    count = hu.shape[axis]
    both = np.take(hu, [(count - 1) // 2, count // 2], axis)
    plane: npt.NDArray[np.floating] = both.mean(axis=axis)
    return plane
