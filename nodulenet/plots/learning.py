"""Learning curves of the folds of one model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nodulenet.plots.style import (
    DOUBLE_COLUMN_IN,
    FONT_SIZE,
    INK,
    LINE_WIDTH,
    MUTED,
    SERIES,
    SINGLE_COLUMN_IN,
    axes_for,
    literal,
    name_axes,
)

TRAINING = (0, (4.0, 1.5))


def learning_curves_figure(
    histories: Mapping[Any, pd.DataFrame], *, axes: Sequence[Axes] | None = None
) -> Figure:
    """Loss and validation AUC by epoch: one thin line a fold, the mean of the folds thick.

    Args:
        histories: Fold -> history with ``epoch, loss, val_loss`` and, where known, ``val_auc``.
            Folds may have stopped at different epochs; the mean is over those still running.
        axes: Two axes (loss, AUC) to draw on. Defaults to a new figure.

    Returns:
        The figure.
    """
    if axes is None:
        figure = Figure(figsize=(DOUBLE_COLUMN_IN, 2.7), layout="constrained")
        figure.patch.set_alpha(0.0)
        axes = list(figure.subplots(1, 2))
    loss_figure(histories, ax=axes[0])
    return validation_auc_figure(histories, ax=axes[1])


def loss_figure(histories: Mapping[Any, pd.DataFrame], *, ax: Axes | None = None) -> Figure:
    """The left half of :func:`learning_curves_figure`."""
    figure, ax = axes_for(ax, width=SINGLE_COLUMN_IN, height=2.5)
    _draw(ax, histories, "loss", SERIES[1], TRAINING)
    _draw(ax, histories, "val_loss", SERIES[0], "solid")
    name_axes(ax, "Epoch", "Loss")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.legend(
        handles=[
            Line2D([], [], color=SERIES[1], linestyle=TRAINING, label="training"),
            Line2D([], [], color=SERIES[0], label="inner validation"),
        ],
        fontsize=FONT_SIZE,
        frameon=False,
        labelcolor=INK,
        loc="upper right",
    )
    return figure


def validation_auc_figure(
    histories: Mapping[Any, pd.DataFrame], *, ax: Axes | None = None
) -> Figure:
    """The right half of :func:`learning_curves_figure`."""
    figure, ax = axes_for(ax, width=SINGLE_COLUMN_IN, height=2.5)
    shown = _draw(ax, histories, "val_auc", SERIES[0], "solid")
    name_axes(ax, "Epoch", "Inner validation AUC")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if not shown:
        ax.text(
            0.5,
            0.5,
            "not recorded",
            transform=ax.transAxes,
            ha="center",
            color=MUTED,
            fontsize=FONT_SIZE,
        )
    return figure


def _draw(
    ax: Axes,
    histories: Mapping[Hashable, pd.DataFrame],
    column: str,
    colour: str,
    dashes: str | tuple[int, tuple[float, ...]],
) -> bool:
    """Draws a column of all folds; whether there was one."""
    found = {
        fold: pd.Series(
            history[column].to_numpy(dtype=np.float64), index=history["epoch"].to_numpy()
        ).dropna()
        for fold, history in histories.items()
        if column in history.columns
    }
    curves = {fold: curve for fold, curve in found.items() if len(curve)}
    if not curves:
        return False
    several = len(curves) > 1
    for fold, curve in curves.items():
        ax.plot(
            curve.index,
            curve.to_numpy(),
            color=colour,
            linewidth=0.7 if several else LINE_WIDTH,
            alpha=0.45 if several else 1.0,
            linestyle=dashes,
            # A run of a single epoch would be invisible as a line.
            marker="." if len(curve) == 1 else None,
            label=literal(f"{column}, fold {fold}"),
        )
    if several:
        mean = pd.concat(list(curves.values()), axis=1).mean(axis=1).sort_index()
        ax.plot(
            mean.index,
            mean.to_numpy(),
            color=colour,
            linewidth=LINE_WIDTH * 1.2,
            linestyle=dashes,
            label=f"{column}, mean of folds",
        )
    return True
