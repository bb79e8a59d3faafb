"""Reliability diagrams show the bins they were given, and nothing hides anything."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nodulenet.errors import UsageError
from nodulenet.evaluation.calibration import ReliabilityBin, reliability_bins
from nodulenet.plots.calibration import calibration_figure, recalibration_figure
from nodulenet.plots.render import figure_svg


def bins(seed: int = 0, power: float = 1.0, **options: Any) -> list[ReliabilityBin]:
    random = np.random.default_rng(seed)
    p = random.random(400) ** 2
    return reliability_bins(random.random(400) < p**power, p, **options)


def found(root: Figure | Axes, gid: str) -> Any:
    (artist,) = root.findobj(lambda artist: artist.get_gid() == gid)
    return artist


def test_points_line_intervals_and_counts_are_the_bins() -> None:
    figure = calibration_figure({"a": bins(), "b": bins(1, power=2)})
    for index, rows in enumerate((bins(), bins(1, power=2))):
        filled = [b for b in rows if b.count]
        expected = [[b.mean_probability, b.observed] for b in filled]
        points = found(figure, f"series-{index}-points").get_offsets()
        np.testing.assert_allclose(points, expected)
        np.testing.assert_allclose(found(figure, f"series-{index}-line").get_xydata(), expected)
        drawn = found(figure, f"series-{index}-intervals").get_segments()
        for b, segment in zip(filled, drawn, strict=True):
            np.testing.assert_allclose(segment[:, 1], [b.interval.low, b.interval.high])
        steps = found(figure, f"series-{index}-counts").get_data()
        assert steps.values.tolist() == [b.count for b in rows]
        assert steps.edges.tolist() == [0, *(b.high for b in rows)]


def test_everything_of_a_series_can_be_found_in_the_svg() -> None:
    text = figure_svg(calibration_figure({"a": bins(), "b": bins(1)}))
    root = ElementTree.fromstring(text)
    names = [e.get("id", "") for e in root.iter() if "series-" in e.get("id", "")]
    parts = ("intervals", "line", "points", "counts-area", "counts")
    assert sorted(names) == sorted(f"series-{i}-{part}" for i in (0, 1) for part in parts)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("number", [1, 2, 6])
def test_the_legend_is_above_the_data_and_all_lies_in_the_figure(number: int, counts: bool) -> None:
    figure = calibration_figure({f"model {i}": bins(i) for i in range(number)}, counts=counts)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    legend = ax.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == number
    # A hair of overlap is padding, not letters.
    assert legend.get_window_extent().y0 >= ax.get_window_extent().y1 - 2
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 > -0.03
    assert drawn.y0 > -0.03
    assert drawn.x1 < width + 0.03
    assert drawn.y1 < height + 0.03


def test_the_strip_is_as_wide_as_the_diagram() -> None:
    for figure in (calibration_figure({"a": bins()}), recalibration_figure(bins(), {"b": bins()})):
        figure.draw_without_rendering()
        for ax in figure.axes:
            (strip,) = ax.child_axes
            outer, inner = ax.get_window_extent(), strip.get_window_extent()
            assert (inner.x0, inner.x1) == pytest.approx((outer.x0, outer.x1))
            assert inner.y1 < outer.y0
            assert strip.get_xlim() == ax.get_xlim()


def test_names_are_taken_literally_and_given_axes_are_used() -> None:
    assert "_v2 $x$" in figure_svg(calibration_figure({"_v2 $x$": bins()}))
    figure = calibration_figure({"a": bins()}, labels={"a": "A, ECE 0.02"})
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["A, ECE 0.02"]
    own = Figure()
    ax = own.add_subplot()
    assert calibration_figure({"a": bins()}, ax=ax) is own
    assert ax.child_axes == []
    assert ax.get_xlabel() == "Predicted probability"


def test_no_model_quantile_bins_and_constants_are_drawn() -> None:
    assert calibration_figure({}).axes[0].get_legend() is None
    figure_svg(calibration_figure({"q": bins(binning="quantile")}))
    constant = reliability_bins([0, 1], [0.5, 0.5], binning="quantile")
    figure = calibration_figure({"c": constant})
    assert found(figure, "series-0-points").get_offsets().tolist() == [[0.5, 0.5]]
    figure_svg(figure)


def test_before_and_after_are_panels_with_before_in_grey() -> None:
    before, after = bins(), {"platt": bins(1), "isotonic": bins(2)}
    figure = recalibration_figure(before, after, titles={"platt": "Platt, ECE 0.02"})
    assert [ax.get_title("left") for ax in figure.axes] == ["Before", "Platt, ECE 0.02", "isotonic"]
    line = found(figure.axes[0], "series-0-line").get_xydata()
    for index, rows in enumerate(after.values(), 1):
        ax = figure.axes[index]
        np.testing.assert_allclose(found(ax, f"series-0-line-in-{index}").get_xydata(), line)
        expected = [[b.mean_probability, b.observed] for b in rows if b.count]
        np.testing.assert_allclose(found(ax, f"series-{index}-points").get_offsets(), expected)
        steps = found(ax, f"series-{index}-counts").get_data()
        assert steps.values.tolist() == [b.count for b in rows]
    # One scale for all strips: heights can be compared.
    assert len({ax.child_axes[0].get_ylim() for ax in figure.axes}) == 1
    names = re.findall(r'id="(series-[^"]+)"', figure_svg(figure))
    assert len(names) == len(set(names)) == 3 * 5 + 2


@pytest.mark.parametrize(("methods", "columns"), [(0, 2), (1, 2), (3, 2), (3, 1), (3, 4)])
def test_panels_fit_whatever_their_number(methods: int, columns: int) -> None:
    after = {f"method {i}": bins(i) for i in range(methods)}
    figure = recalibration_figure(bins(), after, columns=columns)
    assert len(figure.axes) == methods + 1
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > -0.03
    lowest = [ax.child_axes[0].get_xlabel() for ax in figure.axes[-min(columns, methods + 1) :]]
    assert set(lowest) == {"Predicted probability"}


def test_no_columns_are_refused() -> None:
    with pytest.raises(UsageError, match="columns 0; expected at least 1"):
        recalibration_figure(bins(), {}, columns=0)
