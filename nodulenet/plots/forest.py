"""Estimates with intervals, one a row."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nodulenet.plots.style import FONT_SIZE, INK, MUTED, axes_for, literal, name_axes, series_style

Row = tuple[str, float, float | None, float | None]


def interval_figure(
    rows: Sequence[Row],
    *,
    x_label: str = "AUC",
    reference: float | None = 0.5,
    muted: Sequence[str] = (),
    ax: Axes | None = None,
) -> Figure:
    """A dot and a line for each row, the first row on top.

    Args:
        rows: (name, value, low, high); without limits only the dot is drawn.
        x_label: Name of the axis. Defaults to ``"AUC"``.
        reference: Where a vertical line is drawn, e.g. chance; None for none. Defaults to 0.5.
        muted: Names of the rows drawn in grey with a square, e.g. the size-only row.
        ax: Axes to draw on. Defaults to a new figure.

    Returns:
        The figure.
    """
    figure, ax = axes_for(ax, width=4.0, height=0.75 + 0.32 * max(len(rows), 1))
    for position, (name, value, low, high) in enumerate(rows):
        grey = name in muted
        colour = MUTED if grey else series_style(position)[0]
        if low is not None and high is not None:
            ax.plot([low, high], [position, position], color=colour, linewidth=1.8)
        ax.plot(value, position, marker="s" if grey else "o", markersize=6, color=colour)
    if reference is not None:
        ax.axvline(reference, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    ax.set_yticks(range(len(rows)), [literal(row[0]) for row in rows], fontsize=FONT_SIZE)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    name_axes(ax, x_label, "")
    return figure
