"""Decision curves."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nodulenet.errors import UsageError
from nodulenet.evaluation.decision import DecisionCurve
from nodulenet.plots.roc import LEGEND_ROW, add_curve_legend, legend_text
from nodulenet.plots.style import (
    INK,
    LINE_WIDTH,
    MUTED,
    SINGLE_COLUMN_IN,
    axes_for,
    name_axes,
    series_style,
)

_HEIGHT = 2.6
# Below zero a curve says only that nobody should do that: so much of the height above is shown.
_BELOW = 0.25
_DOTTED = (0, (1, 1.5))
_TREAT_ALL = "call all positive"
_TREAT_NONE = "call none positive"


def decision_curve_figure(
    curves: Mapping[str, DecisionCurve],
    *,
    labels: Mapping[str, str] | None = None,
    muted: Collection[str] = (),
    band: bool = True,
    ax: Axes | None = None,
) -> Figure:
    """Net benefit over the threshold probability, with calling all and none positive.

    Args:
        curves: Name -> :func:`nodulenet.evaluation.decision_curve`, all of one prevalence.
        labels: Name -> text of the legend. Defaults to the names.
        muted: Names of the curves drawn in grey, e.g. the size-only row.
        band: Whether the first curve has its interval shaded; several bands would hide each
            other. Defaults to True.
        ax: Axes to draw on. Defaults to a new figure, with the legend above the diagram.

    Returns:
        The figure. What is drawn of curve i has the gids ``series-i-line`` and ``series-i-band``;
        the other two have ``call-all-positive`` and ``call-none-positive``.

    Raises:
        UsageError: no curve, or curves of different prevalence.
    """
    if not curves:
        raise UsageError("decision curve figure: no curve was given; give at least one")
    first_name, first = next(iter(curves.items()))
    for name, curve in curves.items():
        if not np.isclose(curve.prevalence, first.prevalence, rtol=1e-9):
            raise UsageError(
                f"decision curve figure: {first_name!r} is at a prevalence of "
                f"{first.prevalence:.6g} and {name!r} at {curve.prevalence:.6g}; take the same "
                "rows, or state one: decision_curve(..., prevalence=...)"
            )
    names = {name: legend_text((labels or {}).get(name, name)) for name in curves}
    lines = sum(1 + text.count("\n") for text in (*names.values(), _TREAT_ALL, _TREAT_NONE))
    above = ax is None
    figure, ax = axes_for(ax, width=SINGLE_COLUMN_IN, height=_HEIGHT + LEGEND_ROW * lines)
    if band:
        known = np.isfinite(first.low)
        ax.fill_between(
            first.thresholds[known],
            first.low[known],
            first.high[known],
            color=MUTED if first_name in muted else series_style(0)[0],
            alpha=0.15,
            linewidth=0,
            gid="series-0-band",
        )
    for index, (name, curve) in enumerate(curves.items()):
        colour, dashes = series_style(index)
        ax.plot(
            curve.thresholds,
            curve.net_benefit,
            color=MUTED if name in muted else colour,
            linestyle=dashes,
            linewidth=LINE_WIDTH,
            label=names[name],
            gid=f"series-{index}-line",
        )
    for text, values, style in (
        (_TREAT_ALL, first.treat_all, _DOTTED),
        (_TREAT_NONE, np.zeros_like(first.treat_all), "solid"),
    ):
        gid = text.replace(" ", "-")
        ax.plot(
            first.thresholds, values, color=INK, linewidth=0.9, linestyle=style, label=text, gid=gid
        )
    top = max(first.prevalence, *(float(curve.net_benefit.max()) for curve in curves.values()))
    ax.set_ylim(-_BELOW * top, 1.05 * top)
    last = float(first.thresholds[-1])
    ax.set_xlim(0, 1 if last > 0.95 or len(first.thresholds) == 1 else last)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    name_axes(ax, "Threshold probability", "Net benefit (true positives per finding)")
    add_curve_legend(ax, above=above)
    return figure
