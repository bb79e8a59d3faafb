"""Precision-recall curves."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nodulenet.errors import UsageError
from nodulenet.evaluation.precision_recall import PrecisionRecallCurve
from nodulenet.plots.roc import add_curve_legend, legend_text, square_axes, thinned
from nodulenet.plots.style import (
    LINE_WIDTH,
    MUTED,
    name_axes,
    series_style,
)


def precision_recall_figure(
    curves: Mapping[str, PrecisionRecallCurve],
    *,
    labels: Mapping[str, str] | None = None,
    muted: Collection[str] = (),
    prevalence: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Precision over recall of one or several scores, in steps.

    Args:
        curves: Name -> :func:`nodulenet.evaluation.precision_recall.precision_recall_curve`.
        labels: Name -> text of the legend, e.g. with the average precision. Defaults to the names.
        muted: Names of the curves drawn in grey, e.g. the size-only row.
        prevalence: Share of positives, drawn as the line of chance. Defaults to None: no line.
        ax: Axes to draw on. Defaults to a new figure, with the legend above the diagram.

    Returns:
        The figure. The line of curve i has the gid ``series-i-line``.

    Raises:
        UsageError: the prevalence is not in 0..1.
    """
    if prevalence is not None and not 0 <= prevalence <= 1:
        raise UsageError(
            f"precision-recall figure: prevalence {prevalence} is not in 0..1; give the share of "
            "positives"
        )
    names = {name: legend_text((labels or {}).get(name, name)) for name in curves}
    chance = "" if prevalence is None else f"chance: {prevalence:.3g} of the rows are positive"
    above = ax is None
    figure, ax = square_axes(ax, [*names.values(), *([chance] if chance else [])])
    for index, (name, curve) in enumerate(curves.items()):
        colour, dashes = series_style(index)
        x, y = thinned(curve.recall, curve.precision)
        ax.plot(
            x,
            y,
            # Up to each recall precision is that of its own threshold; a straight line between
            # two thresholds would promise what neither gives.
            drawstyle="steps-pre",
            color=MUTED if name in muted else colour,
            linestyle=dashes,
            linewidth=LINE_WIDTH,
            label=names[name],
            gid=f"series-{index}-line",
        )
    if prevalence is not None:
        ax.axhline(
            prevalence,
            color=MUTED,
            linewidth=0.8,
            linestyle=(0, (1, 2)),
            label=chance,
        )
    name_axes(ax, "Recall (sensitivity)", "Precision (positive predictive value)")
    add_curve_legend(ax, above=above)
    return figure
