"""Differences between models, with their intervals and the margin of non-inferiority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nodulenet.errors import UsageError
from nodulenet.plots.forest import interval_figure
from nodulenet.plots.style import FONT_SIZE, INK, MUTED, axes_for

INFERIOR = "#d55e00"


def difference_figure(
    rows: Sequence[Mapping[str, Any]], *, margin: float | None = None, ax: Axes | None = None
) -> Figure:
    """AUC differences with patient-bootstrap intervals, a line at 0 and Holm's p beside.

    Args:
        rows: Of :func:`nodulenet.evaluation.compare.compare_all`; those that are not available
            are left out.
        margin: Non-inferiority margin; what lies beyond it is shaded. Defaults to the margin in
            the rows, if any.
        ax: Axes to draw on. Defaults to a new figure.

    Returns:
        The figure; artists of row i have the gid ``series-<i>-...``.

    Raises:
        UsageError: no row is available.
    """
    shown = [row for row in rows if row["available"]]
    if not shown:
        raise UsageError("difference figure: no comparison is available; nothing to draw")
    if margin is None:
        margin = next(
            (r["non_inferiority"]["margin"] for r in shown if "non_inferiority" in r), None
        )
    longest = max(len(row["first"]) + len(row["second"]) for row in shown)
    # The names take what they need, the axis keeps its length.
    width = min(4.2 + 0.06 * longest, 9.0)
    figure, ax = axes_for(ax, width=width, height=1.05 + 0.34 * len(shown))
    points = [
        (
            f"{row['first']} \N{MINUS SIGN} {row['second']}",
            row["difference"],
            row["patient_bootstrap"]["low"],
            row["patient_bootstrap"]["high"],
        )
        for row in shown
    ]
    interval_figure(points, x_label="Difference in AUC", reference=0.0, ax=ax)
    left, right = _limits(points, margin)
    ax.set_xlim(left, right)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
    if margin is not None:
        ax.axvspan(left, -margin, color=INFERIOR, alpha=0.12, linewidth=0, gid="margin-zone")
        ax.axvline(-margin, color=INFERIOR, linewidth=1.0, linestyle=(0, (4, 2)), gid="margin")
        ax.text(
            -margin,
            1.0,
            f"margin \N{MINUS SIGN}{margin:g} ",
            transform=ax.get_xaxis_transform(),
            ha="right" if -margin - left > 0.25 * (right - left) else "left",
            va="bottom",
            fontsize=FONT_SIZE,
            color=INK,
        )
    for position, row in enumerate(shown):
        ax.text(
            1.03,
            position,
            _p_text(row),
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=FONT_SIZE,
            color=INK if row.get("bootstrap_p_value") is not None else MUTED,
            gid=f"series-{position}-p",
        )
    return figure


def _limits(
    points: Sequence[tuple[str, float, float | None, float | None]], margin: float | None
) -> tuple[float, float]:
    ends = [0.0] if margin is None else [0.0, -1.3 * margin]
    for _, value, low, high in points:
        ends += [value, *(end for end in (low, high) if end is not None)]
    room = 0.06 * (max(ends) - min(ends)) or 0.01
    return min(ends) - room, max(ends) + room


def _p_text(row: Mapping[str, Any]) -> str:
    """The bootstrap's p, corrected where several were tested."""
    holm = row.get("bootstrap_p_holm") if row.get("tests_in_family", 1) > 1 else None
    p = row.get("bootstrap_p_value") if holm is None else holm
    if p is None:
        return "no test"
    text = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"{text} (Holm)" if holm is not None else text
