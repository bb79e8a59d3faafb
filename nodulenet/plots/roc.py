"""ROC curves."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nodulenet.evaluation.arrays import Floats
from nodulenet.evaluation.roc import RocCurve
from nodulenet.plots.style import (
    LINE_WIDTH,
    MUTED,
    add_legend,
    axes_for,
    literal,
    name_axes,
    series_style,
)

# No screen and no printer shows a finer step; a curve of 500,000 candidates must not fill a file.
_GRID = 1000


def roc_figure(
    curves: Mapping[str, RocCurve],
    *,
    labels: Mapping[str, str] | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
    muted: Collection[str] = (),
    ax: Axes | None = None,
) -> Figure:
    """ROC curves of one or several scores, with the line of chance.

    Args:
        curves: Name -> :func:`nodulenet.evaluation.roc.roc_curve`.
        labels: Name -> text of the legend, e.g. with the AUC. Defaults to the names.
        points: Name -> (1 - specificity, sensitivity) of an operating point, drawn as a dot.
        muted: Names of the curves drawn in grey, e.g. the size-only row.
        ax: Axes to draw on. Defaults to a new figure.

    Returns:
        The figure.
    """
    figure, ax = axes_for(ax, width=3.7, height=3.5)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    for index, (name, curve) in enumerate(curves.items()):
        colour, dashes = series_style(index)
        colour = MUTED if name in muted else colour
        x, y = thinned(curve.false_positive_rate, curve.sensitivity)
        text = (labels or {}).get(name, name)
        ax.plot(x, y, color=colour, linestyle=dashes, linewidth=LINE_WIDTH, label=literal(text))
        if points and name in points:
            ax.plot(*points[name], marker="o", markersize=5, color=colour, linestyle="none")
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.01)
    ax.set_aspect("equal")
    name_axes(ax, "1 - specificity", "Sensitivity")
    if curves:
        add_legend(ax)
    return figure


def thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Points of a monotone curve that differ when rounded to a fine grid; the ends stay."""
    cells = np.stack([np.round(x * _GRID), np.round(y * _GRID)])
    moved = np.any(np.diff(cells, axis=1) != 0, axis=0)
    keep = np.concatenate([[True], moved]) | np.concatenate([moved, [True]])
    return x[keep], y[keep]
