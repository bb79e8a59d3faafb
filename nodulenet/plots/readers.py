"""The model among the readers, and how readers agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nodulenet.evaluation.readers import ReaderComparison
from nodulenet.evaluation.roc import roc_curve
from nodulenet.plots.roc import add_curve_legend, legend_text, square_axes, thinned
from nodulenet.plots.style import (
    FONT_SIZE,
    INK,
    LINE_WIDTH,
    MUTED,
    axes_for,
    literal,
    name_axes,
    series_style,
)

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DARK = 0.6  # share of the darkest cell from which on its number is white


def readers_figure(
    comparison: ReaderComparison, *, model: str = "model", ax: Axes | None = None
) -> Figure:
    """ROC curves of the model and of the readings, and the point at which each reader works.

    Everything is held against the consensus of the other readers, so the findings differ a little
    from reader to reader; the two curves are of all ratings together.

    Args:
        comparison: Of :func:`nodulenet.evaluation.readers.model_against_readers`.
        model: What the model is called. Defaults to ``"model"``.
        ax: Axes to draw on. Defaults to a new figure, with the legend above the diagram.

    Returns:
        The figure; gids ``series-0-line`` (model), ``series-1-line`` (readings) and
        ``series-1-point-k`` (reader k at the cut).
    """
    rows = comparison.rows
    curves = {
        "model_auc": (model, roc_curve(rows["label"], rows["score"])),
        "reader_auc": ("any reading", roc_curve(rows["label"], rows["rating"])),
    }
    texts = {
        name: legend_text(
            f"{called}: AUC {_estimate(comparison.any_reading[name])}".replace("_", " ")
        )
        for name, (called, _) in curves.items()
    }
    word = "reader" if comparison.persons else "slot"
    marks = [
        (row["reader"], row["operating_point"]) for row in comparison.readers if row["available"]
    ]
    entries = [legend_text(_called(word, str(reader), comparison.cut)) for reader, _ in marks]
    above = ax is None
    figure, ax = square_axes(ax, [*texts.values(), *entries])
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    for index, (name, (_, curve)) in enumerate(curves.items()):
        colour, dashes = series_style(index)
        x, y = thinned(curve.false_positive_rate, curve.sensitivity)
        ax.plot(
            x,
            y,
            color=colour,
            linestyle=dashes,
            linewidth=LINE_WIDTH,
            label=texts[name],
            gid=f"series-{index}-line",
        )
    colour, _ = series_style(1)
    handles = []
    for number, ((_, point), entry) in enumerate(zip(marks, entries, strict=True)):
        look: dict[str, Any] = {
            "marker": _MARKERS[number % len(_MARKERS)],
            "markersize": 6,
            "markeredgecolor": "white",
            "markeredgewidth": 0.7,
            "color": colour,
            "linestyle": "none",
        }
        ax.plot(
            1 - point["specificity"]["value"],
            point["sensitivity"]["value"],
            clip_on=False,
            zorder=3,
            gid=f"series-1-point-{number}",
            **look,
        )
        handles.append(Line2D([], [], label=entry, **look))
    name_axes(ax, "1 - specificity", "Sensitivity")
    add_curve_legend(ax, above=above, more=handles)
    return figure


def agreement_figure(agreement: Mapping[str, Any], *, ax: Axes | None = None) -> Figure:
    """How often two readings of one finding gave which two ratings, as a table of shares.

    Each row adds up to 100 %: where one reading said so, what another reading of the same finding
    said.

    Args:
        agreement: Of :func:`nodulenet.evaluation.agreement.reader_agreement`.
        ax: Axes to draw on. Defaults to a new figure.
    """
    levels = list(agreement["levels"])
    counts = np.asarray(agreement["table"], dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    size = 1.0 + 0.42 * len(levels)
    figure, ax = axes_for(ax, width=size + 0.45, height=size)
    ax.grid(False)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=max(float(shares.max()), 1e-9))
    darkest = float(shares.max())
    for row in range(len(levels)):
        for column in range(len(levels)):
            share = shares[row, column]
            ax.text(
                column,
                row,
                f"{100 * share:.0f}" if totals[row, 0] else "-",
                ha="center",
                va="center",
                fontsize=FONT_SIZE,
                color="white" if share > _DARK * darkest else INK,
                gid=f"cell-{row}-{column}",
            )
    ax.set_xticks(range(len(levels)), [str(level) for level in levels])
    ax.set_yticks(
        range(len(levels)),
        [f"{level}  ({int(n)})" for level, n in zip(levels, totals[:, 0], strict=True)],
    )
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    name_axes(ax, "Another reading, % of the row", "One reading (pairs)")
    return figure


def _called(word: str, reader: str, cut: int) -> str:
    name = literal(reader).strip().replace("_", " ")
    return f"{name if word in name else f'{word} {name}'}, positive from {cut} on"


def _estimate(figure: Mapping[str, Any]) -> str:
    limits = figure["patient_bootstrap"]
    text = f"{figure['value']:.3f}"
    if limits["low"] is None:
        return text
    return f"{text} ({limits['low']:.3f} to {limits['high']:.3f})"
