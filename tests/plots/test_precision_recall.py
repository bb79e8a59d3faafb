"""ROC and precision-recall figures: what is drawn is the curve, and nothing hides it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from nodulenet.errors import UsageError
from nodulenet.evaluation.precision_recall import average_precision, precision_recall_curve
from nodulenet.evaluation.roc import roc_curve
from nodulenet.plots.precision_recall import precision_recall_figure
from nodulenet.plots.render import figure_svg
from nodulenet.plots.roc import OperatingMark, roc_figure


def data(n: int = 600, strength: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = (random.random(n) < 0.3).astype(int)
    return labels, random.normal(strength * labels, 1.0)


def drawn(figure: Figure, gid: str) -> Any:
    (artist,) = [line for line in figure.axes[0].lines if line.get_gid() == gid]
    return artist


def test_the_area_below_the_steps_is_the_average_precision() -> None:
    labels, scores = data()
    line = drawn(
        precision_recall_figure({"m": precision_recall_curve(labels, scores)}), "series-0-line"
    )
    x, y = (np.asarray(values) for values in line.get_data())
    assert line.get_drawstyle() == "steps-pre"
    area = np.sum(np.diff(x) * y[1:])
    assert area == pytest.approx(average_precision(labels, scores), abs=2e-3)


def test_chance_is_drawn_where_it_is_asked_for() -> None:
    curve = {"m": precision_recall_curve(*data())}
    ax = precision_recall_figure(curve, prevalence=0.3).axes[0]
    assert [0.3, 0.3] in [list(line.get_ydata()) for line in ax.lines]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "m",
        "chance: 0.3 of the rows are positive",
    ]
    assert len(precision_recall_figure(curve).axes[0].lines) == 1
    with pytest.raises(UsageError, match=r"prevalence 1\.5 is not in 0..1"):
        precision_recall_figure(curve, prevalence=1.5)


def test_marks_of_all_curves_share_a_shape_and_a_legend_entry_by_their_text() -> None:
    curve = roc_curve(*data())
    points = {
        "a": [OperatingMark(0.1, 0.6, "Youden"), OperatingMark(0.3, 0.8, "0.5")],
        "b": [OperatingMark(0.2, 0.7, "0.5"), OperatingMark(0.9, 0.9)],
    }
    figure = roc_figure({"a": curve, "b": curve}, points=points)
    assert drawn(figure, "series-0-point-0").get_xydata().tolist() == [[0.1, 0.6]]
    shapes = {
        (i, k): drawn(figure, f"series-{i}-point-{k}").get_marker() for i in (0, 1) for k in (0, 1)
    }
    assert shapes[0, 1] == shapes[1, 0] != shapes[0, 0]
    colours = [drawn(figure, f"series-{i}-line").get_color() for i in (0, 1)]
    assert [drawn(figure, f"series-{i}-point-1").get_color() for i in (0, 1)] == colours
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "Youden", "0.5"]


def test_a_pair_of_numbers_is_one_mark_and_a_stray_name_is_refused() -> None:
    curve = roc_curve(*data())
    figure = roc_figure({"a": curve}, points={"a": (0.1, 0.7)})
    assert drawn(figure, "series-0-point-0").get_xydata().tolist() == [[0.1, 0.7]]
    assert len(roc_figure({"a": curve}, points={"a": []}).axes[0].lines) == 2
    with pytest.raises(UsageError, match=r"points of 'b', which is no curve \(curves: a\)"):
        roc_figure({"a": curve}, points={"b": (0.1, 0.7)})


def test_gids_reach_the_svg() -> None:
    labels, scores = data()
    marks = {"b": [OperatingMark(0.1, 0.6, "Youden"), OperatingMark(0.3, 0.8, "0.5")]}
    curves = {"a": roc_curve(labels, scores), "b": roc_curve(labels, scores)}
    roc = figure_svg(roc_figure(curves, points=marks))
    assert sorted(re.findall('id="(series-[^"]*)"', roc)) == [
        "series-0-line",
        "series-1-line",
        "series-1-point-0",
        "series-1-point-1",
    ]
    curve = {"a": precision_recall_curve(labels, scores)}
    pr = figure_svg(precision_recall_figure(curve, prevalence=0.3))
    assert re.findall('id="(series-[^"]*)"', pr) == ["series-0-line"]


def roc_of(labels: np.ndarray, scores: np.ndarray, names: dict[str, str]) -> Figure:
    marks = {"0": [OperatingMark(0.1, 0.6, "Youden"), OperatingMark(0.3, 0.8, "0.5")]}
    curve = roc_curve(labels, scores)
    return roc_figure(dict.fromkeys(names, curve), labels=names, points=marks)


def precision_recall_of(labels: np.ndarray, scores: np.ndarray, names: dict[str, str]) -> Figure:
    curve = precision_recall_curve(labels, scores)
    return precision_recall_figure(dict.fromkeys(names, curve), labels=names, prevalence=0.3)


@pytest.mark.parametrize("figure_of", [roc_of, precision_recall_of])
@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.parametrize("length", [5, 90])
def test_the_legend_hides_nothing_and_nothing_is_cut_off(
    figure_of: Callable[..., Figure], count: int, length: int
) -> None:
    # Worse than chance: the curve runs where a ROC figure is otherwise empty.
    labels, scores = data(strength=-1.5)
    names = {str(index): ("model " * 20)[:length] for index in range(count)}
    figure = figure_of(labels, scores, names)
    figure.set_dpi(100)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    legend = ax.get_legend()
    assert legend is not None
    window = figure.bbox
    legend_box, whole = legend.get_window_extent(), ax.get_tightbbox()
    assert whole is not None
    assert legend_box.y0 >= ax.get_window_extent().y1 - 1
    # Round joins and the outer rim of a dot may reach a point outside.
    assert whole.x0 >= window.x0 - 2
    assert whole.y0 >= window.y0 - 2
    assert whole.x1 <= window.x1 + 2
    assert whole.y1 <= window.y1 + 2
    # The diagram is not squeezed by what stands around it.
    assert ax.get_window_extent().width > 280


def test_given_axes_are_used() -> None:
    own = Figure()
    axes = own.subplots(1, 2)
    labels, scores = data()
    assert roc_figure({"m": roc_curve(labels, scores)}, ax=axes[0]) is own
    curve = precision_recall_curve(labels, scores)
    assert precision_recall_figure({"m": curve}, ax=axes[1]) is own
    assert all(ax.has_data() for ax in axes)
    assert roc_figure({}).axes[0].get_legend() is None
