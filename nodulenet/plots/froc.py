"""FROC curves."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nodulenet.evaluation.froc import FP_RATES
from nodulenet.plots.roc import legend_text
from nodulenet.plots.style import (
    LINE_WIDTH,
    SINGLE_COLUMN_IN,
    add_legend,
    axes_for,
    name_axes,
    series_style,
)


def froc_figure(
    curves: Mapping[str, pd.DataFrame],
    *,
    labels: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """FROC curves with their bands, on the rates from 1/8 to 8 that LUNA16 averages over.

    Args:
        curves: Name -> ``FrocResult.curve`` (``fp_rate, sensitivity, low, high``).
        labels: Name -> text of the legend, e.g. with the CPM. Defaults to the names.
        ax: Axes to draw on. Defaults to a new figure.

    Returns:
        The figure; artists of curve i have the gid ``series-<i>-...``.
    """
    figure, ax = axes_for(ax, width=SINGLE_COLUMN_IN, height=2.75)
    for index, (name, curve) in enumerate(curves.items()):
        colour, dashes = series_style(index)
        band = curve.dropna(subset=["low", "high"])
        if len(band):
            ax.fill_between(
                band["fp_rate"],
                band["low"],
                band["high"],
                color=colour,
                alpha=0.15,
                linewidth=0,
                gid=f"series-{index}-band",
            )
        ax.plot(
            curve["fp_rate"],
            curve["sensitivity"],
            color=colour,
            linestyle=dashes,
            linewidth=LINE_WIDTH,
            label=legend_text((labels or {}).get(name, name)),
            gid=f"series-{index}-curve",
        )
        counted = curve[curve["fp_rate"].isin(FP_RATES)]
        ax.plot(
            counted["fp_rate"],
            counted["sensitivity"],
            color=colour,
            marker="o",
            markersize=3.2,
            linestyle="none",
            gid=f"series-{index}-rates",
            # The dots at the ends of the axis are drawn whole.
            clip_on=False,
        )
    ax.set_xscale("log", base=2)
    ax.set_xlim(FP_RATES[0], FP_RATES[-1])
    ax.set_xticks(FP_RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    ax.set_ylim(0, 1.01)
    name_axes(ax, "Mean false positives per scan", "Sensitivity")
    if curves:
        # A good curve is high everywhere, a poor one low on the left: the free corner differs.
        add_legend(ax, "best")
    return figure
