"""Reliability diagrams and the distribution of probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nodulenet.errors import UsageError
from nodulenet.evaluation.arrays import Floats, check_labels, check_probabilities
from nodulenet.evaluation.calibration import ReliabilityBin
from nodulenet.plots.numbers import DECORATION
from nodulenet.plots.style import (
    FONT_SIZE,
    INK,
    LINE_WIDTH,
    MUTED,
    SERIES,
    SINGLE_COLUMN_IN,
    add_legend,
    axes_for,
    dress,
    literal,
    name_axes,
    series_style,
)

_LEGEND_ROW = 0.19
_Y_LABEL = "Observed share of positives"
_MARKERS = ("o", "s", "^", "D", "v", "P")


def calibration_figure(
    bins: Mapping[str, Sequence[ReliabilityBin]],
    *,
    labels: Mapping[str, str] | None = None,
    counts: bool = True,
    of: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Observed share of positives against predicted probability, with Wilson intervals.

    Args:
        bins: Name -> :func:`nodulenet.evaluation.calibration.reliability_bins`.
        labels: Name -> text of the legend. Defaults to the names.
        counts: Whether a strip below shows how many rows each bin holds; not on given axes.
            Defaults to True.
        of: What the probability is of, e.g. the name of class 1. Defaults to nothing.
        ax: Axes to draw on. Defaults to a new figure.

    Returns:
        The figure; the strip is the child axes of its axes. The area of a marker grows with the
        rows in its bin. What is drawn of series i has the gids
        ``series-i-line``, ``-points``, ``-intervals`` and ``-counts``.
    """
    own = ax is None
    # The legend stands above the diagram, where it hides nothing, and needs room of its own.
    height = (4.5 if counts else 3.5) + _LEGEND_ROW * len(bins)
    figure, ax = axes_for(ax, width=SINGLE_COLUMN_IN, height=height)
    _dress_diagram(ax)
    largest = _largest(bins.values())
    strip = _strip(ax, largest, of) if own and counts and bins else None
    handles = []
    for index, (name, rows) in enumerate(bins.items()):
        text = literal((labels or {}).get(name, name))
        handles.append(_draw_series(ax, rows, index, largest=largest, label=text))
        if strip is not None:
            _draw_counts(strip, rows, index)
    name_axes(ax, "" if strip else _x_label(of), _Y_LABEL)
    if bins:
        ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            fontsize=FONT_SIZE,
            frameon=False,
            labelcolor=INK,
            borderaxespad=0.2,
            markerscale=1.0,
        )
    return figure


def recalibration_figure(
    before: Sequence[ReliabilityBin],
    after: Mapping[str, Sequence[ReliabilityBin]],
    *,
    titles: Mapping[str, str] | None = None,
    columns: int = 2,
    of: str = "",
) -> Figure:
    """Reliability diagrams before and after recalibration, side by side.

    Args:
        before: :func:`nodulenet.evaluation.calibration.reliability_bins` of the probabilities as
            they are.
        after: Method -> the bins of the same rows after it.
        titles: Method, or ``"before"``, -> title of its panel. Defaults to ``Before`` and the
            method's name.
        columns: Panels in a row. Defaults to 2.
        of: As of :func:`calibration_figure`.

    Returns:
        The figure: a panel before, then one a method, each with the line before in grey and a
        strip that shows how many rows each bin holds. What is drawn of panel i has the gids
        ``series-i-line``, ``-points``, ``-intervals``, ``-counts``; the grey line in panel i
        has ``series-0-line-in-i``.

    Raises:
        UsageError: fewer than one column.
    """
    if columns < 1:
        raise UsageError(f"recalibration figure: columns {columns}; expected at least 1")
    panels = [("before", before), *after.items()]
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(0.4 + 2.4 * columns, 0.3 + 3.15 * lines), layout="constrained")
    figure.patch.set_alpha(0.0)
    largest = _largest(rows for _, rows in panels)
    for index, (name, rows) in enumerate(panels):
        ax = figure.add_subplot(lines, columns, index + 1)
        dress(ax)
        _dress_diagram(ax, f"ideal-in-{index}")
        if index:
            x, y = _points(before)
            ax.plot(x, y, color=MUTED, linewidth=0.9, alpha=0.8, gid=f"series-0-line-in-{index}")
        title = literal((titles or {}).get(name, name if index else "Before"))
        _draw_series(ax, rows, index, largest=largest, label=title)
        strip = _strip(ax, largest, of)
        _draw_counts(strip, rows, index)
        # Named once a side: the panels are all alike.
        if index + columns < len(panels):
            strip.set_xlabel("")
        if index % columns:
            strip.set_ylabel("")
        name_axes(ax, "", "" if index % columns else _Y_LABEL, title)
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
    figure, ax = axes_for(ax, width=SINGLE_COLUMN_IN, height=2.1)
    edges = np.linspace(0, 1, 21)
    for value in (False, True):
        name, colour, gid = class_names[value], SERIES[value], f"series-{int(value)}"
        own = p[y == value]
        if own.size == 0:
            continue
        heights, _ = np.histogram(own, edges)
        shares = heights / own.size
        text = literal(f"{name} (n = {own.size:,})")
        area = f"{gid}{DECORATION}"
        ax.stairs(shares, edges, fill=True, color=colour, alpha=0.28, linewidth=0, gid=area)
        ax.stairs(
            shares,
            edges,
            color=colour,
            linewidth=LINE_WIDTH * 0.8,
            linestyle="dashed" if value else "solid",
            label=text,
            gid=gid,
        )
    ax.set_xlim(0, 1)
    # Room above the tallest bar for the legend.
    ax.set_ylim(0, 1.35 * ax.dataLim.ymax if ax.dataLim.ymax > 0 else 1)
    name_axes(ax, _x_label(class_names[1]), "Share of the class")
    add_legend(ax, "upper center")
    return figure


def _draw_series(
    ax: Axes,
    rows: Sequence[ReliabilityBin],
    index: int,
    *,
    largest: int,
    label: str,
) -> Line2D:
    """Draws a series; returns its entry for a legend."""
    colour, dashes = series_style(index)
    filled = [b for b in rows if b.count]
    x, y = _points(rows)
    low = np.array([b.interval.low for b in filled], dtype=np.float64)
    high = np.array([b.interval.high for b in filled], dtype=np.float64)
    marker = _MARKERS[index % len(_MARKERS)]
    ax.vlines(
        x, low, high, color=colour, linewidth=0.9, alpha=0.75, gid=f"series-{index}-intervals"
    )
    ax.plot(
        x,
        y,
        color=colour,
        linewidth=LINE_WIDTH * 0.75,
        linestyle=dashes,
        gid=f"series-{index}-line",
    )
    ax.scatter(
        x,
        y,
        s=[8 + 40 * b.count / largest for b in filled],
        color=colour,
        marker=marker,
        linewidths=0,
        zorder=3,
        label=label,
        gid=f"series-{index}-points",
    )
    # The legend's own, with a marker of one size: those drawn grow with the rows.
    entry = Line2D([], [], color=colour, linewidth=LINE_WIDTH * 0.75, marker=marker, label=label)
    entry.set_linestyle(dashes)  # type: ignore[arg-type]
    entry.set_markersize(4.5)
    return entry


def _draw_counts(ax: Axes, rows: Sequence[ReliabilityBin], index: int) -> None:
    colour, dashes = series_style(index)
    edges = [rows[0].low, *(b.high for b in rows)]
    counts = [b.count for b in rows]
    gid = f"series-{index}-counts"
    area = f"{gid}{DECORATION}"
    ax.stairs(counts, edges, fill=True, color=colour, alpha=0.15, linewidth=0, gid=area)
    ax.stairs(counts, edges, color=colour, linestyle=dashes, linewidth=1.0, gid=gid)


def _dress_diagram(ax: Axes, gid: str = "ideal") -> None:
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), gid=gid)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")


def _x_label(of: str) -> str:
    return literal(f"Predicted probability of “{of}”" if of else "Predicted probability")


def _strip(ax: Axes, largest: int, of: str) -> Axes:
    """Axes for counts below a diagram, as wide as it whatever its proportions do."""
    strip = ax.inset_axes((0.0, -0.25, 1.0, 0.19), sharex=ax)
    dress(strip)
    ax.tick_params(labelbottom=False)
    strip.set_ylim(0, 1.08 * max(largest, 1))
    strip.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
    name_axes(strip, _x_label(of), "Rows")
    return strip


def _points(rows: Sequence[ReliabilityBin]) -> tuple[Floats, Floats]:
    filled = [b for b in rows if b.count]
    return (
        np.array([b.mean_probability for b in filled], dtype=np.float64),
        np.array([b.observed for b in filled], dtype=np.float64),
    )


def _largest(series: Iterable[Sequence[ReliabilityBin]]) -> int:
    return max((b.count for rows in series for b in rows), default=1)
