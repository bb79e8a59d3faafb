"""ROC curves."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nodulenet.errors import UsageError
from nodulenet.evaluation.arrays import Floats
from nodulenet.evaluation.roc import RocCurve
from nodulenet.plots.style import (
    FONT_SIZE,
    INK,
    LINE_WIDTH,
    MUTED,
    SINGLE_COLUMN_IN,
    axes_for,
    literal,
    name_axes,
    series_style,
)

# Inches.
HEIGHT = 3.45
LEGEND_ROW = 0.18
_LEGEND_CHARACTERS = 38  # that fit beside the line of an entry
# No screen and no printer shows a finer step; a curve of 500,000 candidates must not fill a file.
_GRID = 1000
_MARK = "-point-"
_MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class OperatingMark:
    """An operating point in a ROC diagram.

    Attributes:
        false_positive_rate: 1 - specificity.
        sensitivity: Its height.
        text: What it is, e.g. ``"Youden"``; marks with the same text look the same and share an
            entry of the legend. Empty by default: a dot without an entry.
    """

    false_positive_rate: float
    sensitivity: float
    text: str = ""


Marks = tuple[float, float] | Sequence[OperatingMark]


def roc_figure(
    curves: Mapping[str, RocCurve],
    *,
    labels: Mapping[str, str] | None = None,
    points: Mapping[str, Marks] | None = None,
    others: Sequence[OperatingMark] = (),
    muted: Collection[str] = (),
    ax: Axes | None = None,
) -> Figure:
    """ROC curves of one or several scores, with the line of chance.

    Args:
        curves: Name -> :func:`nodulenet.evaluation.roc.roc_curve`.
        labels: Name -> text of the legend, e.g. with the AUC. Defaults to the names.
        points: Name -> the operating points of that curve, or (1 - specificity, sensitivity) of a
            single one. Thresholds that were chosen elsewhere need not lie on the curve.
        others: Points of no curve, drawn black, e.g. what readers called positive. Defaults to
            none.
        muted: Names of the curves drawn in grey, e.g. the size-only row.
        ax: Axes to draw on. Defaults to a new figure, with the legend above the diagram.

    Returns:
        The figure. What is drawn of curve i has the gids ``series-i-line`` and, for its kth
        operating point, ``series-i-point-k``; the kth of ``others`` has ``other-point-k``.

    Raises:
        UsageError: points of a curve that is not there.
    """
    marks = _marks(points or {}, curves)
    texts = {
        mark.text: legend_text(mark.text)
        for own in (*marks.values(), others)
        for mark in own
        if mark.text
    }
    of_curves = {mark.text for own in marks.values() for mark in own}
    names = {name: legend_text((labels or {}).get(name, name)) for name in curves}
    above = ax is None
    figure, ax = square_axes(ax, [*names.values(), *texts.values()])
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), gid="chance")
    colours = []
    for index, (name, curve) in enumerate(curves.items()):
        colour, dashes = series_style(index)
        colours.append(MUTED if name in muted else colour)
        x, y = thinned(curve.false_positive_rate, curve.sensitivity)
        ax.plot(
            x,
            y,
            color=colours[-1],
            linestyle=dashes,
            linewidth=LINE_WIDTH,
            label=names[name],
            gid=f"series-{index}-line",
        )
    # After all the lines, so that no line hides a point.
    for index, name in enumerate(curves):
        for number, mark in enumerate(marks.get(name, ())):
            _draw_mark(ax, mark, texts, colours[index], f"series-{index}-point-{number}", name)
    for number, mark in enumerate(others):
        _draw_mark(ax, mark, texts, INK, f"other-point-{number}")
    name_axes(ax, "1 - specificity", "Sensitivity")
    add_curve_legend(
        ax,
        above=above,
        more=[
            Line2D(
                [],
                [],
                marker=_marker(text, texts),
                markersize=5,
                color=MUTED if text in of_curves else INK,
                linestyle="none",
                label=shown,
            )
            for text, shown in texts.items()
        ],
    )
    return figure


def square_axes(ax: Axes | None, entries: Sequence[str]) -> tuple[Figure, Axes]:
    """Axes from 0 to 1 both ways; new ones with room above for the entries of a legend."""
    lines = sum(1 + entry.count("\n") for entry in entries)
    figure, ax = axes_for(ax, width=SINGLE_COLUMN_IN, height=HEIGHT + LEGEND_ROW * lines)
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.01)
    ax.set_aspect("equal")
    # Matplotlib's layout takes the axes for as large as before they were made square. From this
    # corner their labels keep their room whatever stands above.
    ax.set_anchor("SW")
    return figure, ax


def legend_text(text: str) -> str:
    """Text of a legend entry, in as many lines as its width needs."""
    return "\n".join(literal(line) for line in textwrap.wrap(text, _LEGEND_CHARACTERS)) or " "


def add_curve_legend(ax: Axes, *, above: bool, more: Sequence[Line2D] = ()) -> None:
    """A legend of the labelled lines, and of ``more``, that hides no curve.

    Args:
        ax: Where the lines are.
        above: Whether it stands above the axes, which take ``LEGEND_ROW`` inches an entry; else
            where the fewest data lie.
        more: Further entries. Defaults to none.
    """
    # Marks are labelled for the table of the numbers; their entries are in ``more``.
    drawn = [h for h in ax.get_legend_handles_labels()[0] if _MARK not in (h.get_gid() or "")]
    handles = [*drawn, *more]
    if not handles:
        return
    ax.legend(
        handles=handles,
        loc="lower left" if above else "best",
        bbox_to_anchor=(0.0, 1.0) if above else None,
        fontsize=FONT_SIZE,
        frameon=False,
        labelcolor=INK,
        handlelength=2.4,
        borderaxespad=0.2,
    )


def thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Points of a curve that differ when rounded to a fine grid; the ends stay."""
    cells = np.stack([np.round(x * _GRID), np.round(y * _GRID)])
    moved = np.any(np.diff(cells, axis=1) != 0, axis=0)
    keep = np.concatenate([[True], moved]) | np.concatenate([moved, [True]])
    return x[keep], y[keep]


def _marks(
    points: Mapping[str, Marks], curves: Mapping[str, RocCurve]
) -> dict[str, list[OperatingMark]]:
    unknown = [name for name in points if name not in curves]
    if unknown:
        raise UsageError(
            f"ROC figure: points of {unknown[0]!r}, which is no curve (curves: "
            f"{', '.join(curves) or 'none'}); name the curve that they belong to"
        )
    marks = {}
    for name, own in points.items():
        coordinates = [value for value in own if not isinstance(value, OperatingMark)]
        marks[name] = [value for value in own if isinstance(value, OperatingMark)]
        if coordinates:
            x, y = coordinates
            marks[name].append(OperatingMark(x, y))
    return marks


def _draw_mark(
    ax: Axes, mark: OperatingMark, texts: Collection[str], colour: str, gid: str, of: str = ""
) -> None:
    ax.plot(
        mark.false_positive_rate,
        mark.sensitivity,
        marker=_marker(mark.text, texts),
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.7,
        color=colour,
        linestyle="none",
        clip_on=False,
        zorder=3,
        label=literal(", ".join(text for text in (of, mark.text) if text)),
        gid=gid,
    )


def _marker(text: str, texts: Collection[str]) -> str:
    return _MARKERS[list(texts).index(text) % len(_MARKERS)] if text else _MARKERS[0]
