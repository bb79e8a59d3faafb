"""Reliability diagrams and the distribution of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nodulenet.evaluation.arrays import check_labels, check_probabilities
from nodulenet.evaluation.calibration import ReliabilityBin
from nodulenet.plots.style import (
    INK,
    LINE_WIDTH,
    MUTED,
    SERIES,
    add_legend,
    axes_for,
    literal,
    name_axes,
    series_style,
)

_MARKERS = ("o", "s", "^", "D", "v", "P")


def calibration_figure(
    bins: Mapping[str, Sequence[ReliabilityBin]],
    *,
    labels: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Observed share of positives against predicted probability, with Wilson intervals.

    Args:
        bins: Name -> :func:`nodulenet.evaluation.calibration.reliability_bins`.
        labels: Name -> text of the legend. Defaults to the names.
        ax: Axes to draw on. Defaults to a new figure.

    Returns:
        The figure. The area of a marker grows with the rows in its bin.
    """
    figure, ax = axes_for(ax, width=3.7, height=3.5)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    largest = max((b.count for rows in bins.values() for b in rows), default=1)
    for index, (name, rows) in enumerate(bins.items()):
        colour, dashes = series_style(index)
        filled = [b for b in rows if b.count]
        x = np.array([b.mean_probability for b in filled], dtype=np.float64)
        y = np.array([b.observed for b in filled], dtype=np.float64)
        low = np.array([b.interval.low for b in filled], dtype=np.float64)
        high = np.array([b.interval.high for b in filled], dtype=np.float64)
        ax.vlines(x, low, high, color=colour, linewidth=0.9, alpha=0.75)
        ax.plot(x, y, color=colour, linewidth=LINE_WIDTH * 0.75, linestyle=dashes)
        ax.scatter(
            x,
            y,
            s=[8 + 40 * b.count / largest for b in filled],
            color=colour,
            marker=_MARKERS[index % len(_MARKERS)],
            linewidths=0,
            label=literal((labels or {}).get(name, name)),
            zorder=3,
        )
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")
    name_axes(ax, "Predicted probability", "Observed share of positives")
    if bins:
        add_legend(ax, "upper left")
    return figure


def score_distribution_figure(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    class_names: tuple[str, str] = ("negative", "positive"),
    ax: Axes | None = None,
) -> Figure:
    """Histogram of the probabilities of each class, as shares of the class.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).
        class_names: Names of classes 0 and 1. Defaults to ``("negative", "positive")``.
        ax: Axes to draw on. Defaults to a new figure.

    Returns:
        The figure.
    """
    y = check_labels(labels)
    p = check_probabilities(probabilities, y.size)
    figure, ax = axes_for(ax, width=3.7, height=2.1)
    edges = np.linspace(0, 1, 21)
    for value, name, colour in (
        (False, class_names[0], SERIES[0]),
        (True, class_names[1], SERIES[1]),
    ):
        own = p[y == value]
        if own.size == 0:
            continue
        heights, _ = np.histogram(own, edges)
        shares = heights / own.size
        text = literal(f"{name} (n = {own.size:,})")
        ax.stairs(shares, edges, fill=True, color=colour, alpha=0.28, linewidth=0)
        ax.stairs(
            shares,
            edges,
            color=colour,
            linewidth=LINE_WIDTH * 0.8,
            linestyle="dashed" if value else "solid",
            label=text,
        )
    ax.set_xlim(0, 1)
    # Room above the tallest bar for the legend.
    ax.set_ylim(0, 1.35 * ax.dataLim.ymax if ax.dataLim.ymax > 0 else 1)
    name_axes(ax, "Predicted probability", "Share of the class")
    ax.xaxis.label.set_color(INK)
    add_legend(ax, "upper center")
    return figure
