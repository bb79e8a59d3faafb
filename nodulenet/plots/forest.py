"""Estimates with intervals, one a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nodulenet.errors import UsageError
from nodulenet.plots.numbers import INTERVAL
from nodulenet.plots.style import (
    DOUBLE_COLUMN_IN,
    FONT_SIZE,
    INK,
    MUTED,
    SINGLE_COLUMN_IN,
    axes_for,
    literal,
    name_axes,
    series_style,
)

Row = tuple[str, float, float | None, float | None]

_DOTTED = (0, (1, 2))
# Inches of a row of text, and of each further series in a row.
_ROW = 0.24
_SERIES_ROW = 0.13


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
        The figure; artists of row i have the gid ``series-<i>-...``.
    """
    longest = max((len(row[0]) for row in rows), default=0)
    # A column, unless long names would leave the axis no room.
    width = min(SINGLE_COLUMN_IN + 0.06 * max(0, longest - 20), DOUBLE_COLUMN_IN)
    figure, ax = axes_for(ax, width=width, height=0.75 + 0.32 * max(len(rows), 1))
    for position, (name, value, low, high) in enumerate(rows):
        grey = name in muted
        colour = MUTED if grey else series_style(position)[0]
        _estimate(ax, position, value, low, high, colour, grey, f"series-{position}", label=name)
    if reference is not None:
        ax.axvline(reference, color=MUTED, linewidth=0.8, linestyle=_DOTTED, gid="reference")
    ax.set_yticks(range(len(rows)), [literal(row[0]) for row in rows], fontsize=FONT_SIZE)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    _quiet_rows(ax)
    name_axes(ax, x_label, "")
    return figure


def forest_figure(
    subgroups: Sequence[Mapping[str, Any]],
    *,
    models: Sequence[str] | None = None,
    overall: Mapping[str, float] | None = None,
    size_name: str = "size alone",
    x_label: str = "AUC",
    ax: Axes | None = None,
) -> Figure:
    """Forest plot: the AUC of every group with its interval, and the size alone beside it.

    Small groups have hollow dots and are marked; beside each row stand the positives and
    negatives, and with a single model the numbers.

    Args:
        subgroups: Of :func:`nodulenet.evaluation.subgroups.subgroup_results`; columns that are
            not available are left out.
        models: The models to draw, in the order of their colours. Defaults to all, in the order
            they appear in.
        overall: Model -> its AUC in all rows, a dashed line each; ``size_name`` -> that of the
            size. Defaults to none.
        size_name: What the size alone is called. Defaults to ``"size alone"``.
        x_label: Name of the axis. Defaults to ``"AUC"``.
        ax: Axes to draw on. Defaults to a new figure.

    Returns:
        The figure; artists of model i have the gid ``series-<i>-...``, those of the size follow
        the last model.

    Raises:
        UsageError: no column is available.
    """
    columns = [column for column in subgroups if column["available"]]
    if not columns:
        raise UsageError("forest figure: no column of the subgroups is available; nothing to draw")
    names = list(models) if models is not None else _models(columns)
    groups = [group for column in columns for group in column["groups"]]
    with_size = any(group["size_auc"] is not None for group in groups)
    in_a_row = len(names) + with_size
    step = _ROW + _SERIES_ROW * (in_a_row - 1)
    height = sum(_ROW + step * len(column["groups"]) for column in columns)
    single = len(names) == 1
    figure, ax = axes_for(ax, width=6.6 if single else 5.6, height=height + 0.9)

    # Positions are inches below the upper border, so that rows of text and of results may differ.
    at = 0.0
    ticks: list[tuple[float, str, bool]] = []
    limits = [0.5, 1.0] if overall is None else [1.0, *overall.values()]
    count = 0
    for column in columns:
        ticks.append((at + _ROW / 2, _title(column), True))
        at += _ROW
        for group in column["groups"]:
            centre = at + step / 2
            ticks.append((centre, _group_name(column, group), False))
            called = f"{_title(column)} {_group_name(column, group)}"
            limits += _group_row(
                ax, group, [*names, size_name], with_size, centre, count, called=called
            )
            _beside(ax, group, names, centre, single)
            at += step
            count += 1
    _overall_lines(ax, overall or {}, names, size_name)
    for title, x in [
        ("+ / \N{MINUS SIGN}", 1.02),
        *([(f"{x_label} (interval)", 1.2)] if single else []),
    ]:
        ax.text(x, 1.0, title, transform=ax.transAxes, va="bottom", fontsize=FONT_SIZE, color=MUTED)
    low = max(0.0, min(limits) - 0.03)
    ax.set_xlim(low, max(limits) + 0.02)
    if low < 0.5:
        ax.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=_DOTTED, gid="reference")
    ax.set_ylim(at, 0)
    ax.set_yticks([y for y, _, _ in ticks], [literal(text) for _, text, _ in ticks])
    for label, (_, _, header) in zip(ax.get_yticklabels(), ticks, strict=True):
        label.set_fontsize(FONT_SIZE)
        label.set_fontweight("bold" if header else "normal")
    _quiet_rows(ax)
    name_axes(ax, x_label, "")
    _legend_above(ax, names, size_name if with_size else "", any(g["small"] for g in groups))
    return figure


def _estimate(
    ax: Axes,
    y: float,
    value: float,
    low: float | None,
    high: float | None,
    colour: str,
    square: bool,
    gid: str,
    *,
    label: str,
    hollow: bool = False,
    size: float = 6,
) -> None:
    label = literal(label)
    if low is not None and high is not None:
        ax.plot(
            [low, high],
            [y, y],
            color=colour,
            linewidth=0.3 * size,
            label=label,
            gid=f"{gid}{INTERVAL}",
        )
    ax.plot(
        value,
        y,
        marker="s" if square else "o",
        markersize=size,
        color=colour,
        # Not transparent: the interval would run through it.
        markerfacecolor="white" if hollow else colour,
        markeredgewidth=1.2,
        label=label,
        gid=f"{gid}-value",
    )


def _group_row(
    ax: Axes,
    group: Mapping[str, Any],
    names: Sequence[str],
    with_size: bool,
    centre: float,
    count: int,
    *,
    called: str,
) -> list[float]:
    """Draws the estimates of a group; returns every number on the axis.

    The last of the names is that of the size, whether or not it is drawn.
    """
    numbers: list[float] = []
    models = len(names) - 1
    in_a_row = models + with_size
    nothing = True
    for index in range(in_a_row):
        is_size = index == models
        own = None if is_size else group["models"].get(names[index])
        if is_size:
            value, limits = group["size_auc"], group["size_auc_interval"]
        else:
            value, limits = (None, None) if own is None else (own["auc"], own["auc_interval"])
        if value is None:
            continue
        nothing = False
        low, high = (limits["low"], limits["high"]) if limits else (None, None)
        numbers += [n for n in (value, low, high) if n is not None]
        _estimate(
            ax,
            centre + _SERIES_ROW * (index - (in_a_row - 1) / 2),
            value,
            low,
            high,
            MUTED if is_size else series_style(index)[0],
            is_size,
            f"series-{index}-group-{count}",
            label=f"{names[index]}: {called}",
            hollow=group["small"],
            size=4,
        )
    if nothing:
        ax.text(
            0.5,
            centre,
            "one class only" if 0 in (group["positives"], group["negatives"]) else "no AUC",
            transform=ax.get_yaxis_transform(),
            ha="center",
            va="center",
            fontsize=FONT_SIZE - 1,
            color=MUTED,
        )
    return numbers


def _beside(
    ax: Axes, group: Mapping[str, Any], names: Sequence[str], centre: float, single: bool
) -> None:
    texts = [(1.02, f"{group['positives']} / {group['negatives']}")]
    own = group["models"].get(names[0]) if single else None
    if own is not None and own["auc"] is not None:
        limits = own["auc_interval"]
        text = f"{own['auc']:.2f}"
        if limits["low"] is not None:
            text += f" ({limits['low']:.2f}\N{EN DASH}{limits['high']:.2f})"
        texts.append((1.2, text))
    for x, text in texts:
        ax.text(
            x,
            centre,
            text,
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=FONT_SIZE,
            color=MUTED if group["small"] else INK,
        )


def _overall_lines(
    ax: Axes, overall: Mapping[str, float], names: Sequence[str], size_name: str
) -> None:
    for index, name in enumerate([*names, size_name]):
        if name in overall:
            ax.axvline(
                overall[name],
                color=MUTED if index == len(names) else series_style(index)[0],
                linewidth=0.9,
                linestyle=(0, (5, 3)),
                alpha=0.7,
                zorder=0.5,
                label=literal(f"{name}: all"),
                gid=f"series-{index}-overall",
            )


def _legend_above(ax: Axes, names: Sequence[str], size_name: str, small: bool) -> None:
    def entry(name: str, colour: str, marker: str, face: str) -> Line2D:
        return Line2D(
            [],
            [],
            color=colour,
            marker=marker,
            markersize=4,
            markerfacecolor=face,
            linewidth=1.2,
            label=literal(name),
        )

    handles = [
        entry(n, colour, "o", colour)
        for n, colour in ((name, series_style(i)[0]) for i, name in enumerate(names))
    ]
    if size_name:
        handles.append(entry(size_name, MUTED, "s", MUTED))
    if small:
        handles.append(entry("hollow: small group", MUTED, "o", "white"))
        handles[-1].set_linestyle("none")
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=min(2, len(handles)),
        fontsize=FONT_SIZE,
        frameon=False,
        labelcolor=INK,
        handlelength=1.8,
        columnspacing=1.2,
        borderaxespad=0.2,
    )


def _models(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    every = (model for column in columns for group in column["groups"] for model in group["models"])
    return list(dict.fromkeys(every))


def _title(column: Mapping[str, Any]) -> str:
    name = str(column["column"])
    return name.removesuffix("_mm").replace("_", " ") + (" (mm)" if name.endswith("_mm") else "")


def _group_name(column: Mapping[str, Any], group: Mapping[str, Any]) -> str:
    # The unit stands in the title.
    name = str(group["name"])
    name = name.replace(" mm", "") if str(column["column"]).endswith("_mm") else name
    return f"{name}, small" if group["small"] else name


def _quiet_rows(ax: Axes) -> None:
    ax.grid(False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
