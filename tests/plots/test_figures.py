"""Figures show the numbers they were given, and leave no global state behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from nodulenet.errors import UsageError
from nodulenet.evaluation.calibration import reliability_bins
from nodulenet.evaluation.froc import FP_RATES
from nodulenet.evaluation.roc import roc_curve
from nodulenet.plots import (
    calibration_figure,
    figure_pixels,
    figure_svg,
    froc_figure,
    interval_figure,
    learning_curves_figure,
    montage_figure,
    planes_figure,
    roc_figure,
    save_figure,
    save_pdf,
    save_png,
    score_distribution_figure,
)
from nodulenet.plots.roc import thinned


def data(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = (random.random(n) < 0.4).astype(int)
    return labels, 1 / (1 + np.exp(-random.normal(2 * labels - 1, 1.0)))


def test_the_roc_line_is_the_curve_and_a_name_is_taken_literally() -> None:
    labels, p = data()
    curve = roc_curve(labels, p)
    figure = roc_figure({"_v2 $x$": curve}, points={"_v2 $x$": (0.1, 0.7)})
    ax = figure.axes[0]
    drawn = ax.lines[1]
    x, y = drawn.get_xdata(), drawn.get_ydata()
    area = np.trapezoid(np.asarray(y), np.asarray(x))
    exact = np.trapezoid(curve.sensitivity, curve.false_positive_rate)
    assert area == pytest.approx(exact, abs=2e-3)
    assert ax.lines[2].get_xydata().tolist() == [[0.1, 0.7]]
    assert "_v2 $x$" in figure_svg(figure)


def test_a_curve_of_many_points_is_thinned_without_being_seen() -> None:
    random = np.random.default_rng(0)
    labels = random.random(200_000) < 0.01
    curve = roc_curve(labels, random.normal(labels * 2.0, 1.0))
    x, y = thinned(curve.false_positive_rate, curve.sensitivity)
    assert x.size < 6000
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    at = np.linspace(0, 1, 5000)
    apart = np.interp(at, x, y) - np.interp(at, curve.false_positive_rate, curve.sensitivity)
    assert np.abs(apart).max() < 2e-3


def test_calibration_points_are_the_filled_bins() -> None:
    labels, p = data()
    bins = reliability_bins(labels, p * 0.5)
    ax = calibration_figure({"m": bins}).axes[0]
    offsets = np.asarray(ax.collections[-1].get_offsets())
    filled = [b for b in bins if b.count]
    assert len(filled) == 5
    np.testing.assert_allclose(offsets[:, 0], [b.mean_probability for b in filled])
    np.testing.assert_allclose(offsets[:, 1], [b.observed for b in filled])


def test_histograms_of_both_classes_sum_to_one() -> None:
    labels, p = data()
    ax = score_distribution_figure(labels, p).axes[0]
    lines = [patch for patch in ax.patches if not patch.get_fill()]
    assert [patch.get_data().values.sum() for patch in lines] == pytest.approx([1, 1])
    one_class = score_distribution_figure(np.ones(3, dtype=int), [0.1, 0.2, 1.0]).axes[0]
    assert len(one_class.patches) == 2


def test_froc_ticks_and_band() -> None:
    curve = pd.DataFrame(
        {"fp_rate": FP_RATES, "sensitivity": 0.5, "low": 0.4, "high": [0.6] * 6 + [np.nan]}
    )
    ax = froc_figure({"m": curve}, labels={"m": "m, CPM 0.500"}).axes[0]
    assert ax.get_xticks().tolist() == list(FP_RATES)
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.4, 0.6)
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == "m, CPM 0.500"


def test_learning_curves_average_the_folds_that_still_run() -> None:
    histories = {
        0: pd.DataFrame({"epoch": [1, 2, 3], "loss": [1.0, 0.8, 0.6], "val_loss": [1, 1, 1]}),
        1: pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "val_loss": [1, 1]}),
    }
    figure = learning_curves_figure(histories)
    loss, auc = figure.axes
    mean = max(loss.lines[:3], key=lambda line: line.get_linewidth())
    np.testing.assert_allclose(mean.get_ydata(), [1.5, 0.9, 0.6])
    assert "not recorded" in [text.get_text() for text in auc.texts]


def test_intervals_and_their_absence() -> None:
    ax = interval_figure([("a", 0.9, 0.8, 0.95), ("size", 0.7, None, None)], muted=["size"]).axes[0]
    lines = [line.get_xydata().tolist() for line in ax.lines]
    assert [[0.8, 0], [0.95, 0]] in lines
    assert [[0.7, 1]] in lines
    assert len(lines) == 4  # interval, two dots, chance
    assert ax.yaxis_inverted()


def test_montage_window_proportions_and_scale_bar() -> None:
    patch = np.linspace(-2000, 2000, 600).reshape(20, 30)
    figure = montage_figure([patch, patch], captions=["a", "b"], spacings_mm=(0.5, 1.0))
    ax = figure.axes[0]
    assert ax.images[0].get_clim() == (-1000, 400)
    assert ax.get_aspect() == 2.0
    assert ax.patches[0].get_width() == 20  # 10 mm at 0.5 mm a pixel
    assert [a.get_title() for a in figure.axes] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"patches": []}, "no patches"),
        ({"patches": [np.zeros((3, 4, 5))]}, r"\(3, 4, 5\)"),
        ({"patches": [np.zeros((3, 4))], "captions": ["a", "b"]}, "2 captions"),
        ({"patches": [np.zeros((3, 4))], "spacings_mm": [(1, 1)] * 3}, "spacings_mm"),
    ],
)
def test_montage_refuses_what_it_cannot_draw(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        montage_figure(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_planes_show_left_back_and_head_where_radiologists_expect_them(axis: str) -> None:
    """A bright end of one axis appears at the letter of that end, in both planes it lies in."""
    hu = np.full((9, 11, 13), -900.0)
    hu[{"x": np.s_[:, :, -2:], "y": np.s_[:, -2:], "z": np.s_[-2:]}[axis]] = 100.0
    figure = planes_figure(hu, (0.5, 0.6, 1.5))
    letter = {"x": "L", "y": "P", "z": "S"}[axis]
    figure.set_dpi(100)
    figure.draw_without_rendering()
    seen = 0
    for ax in figure.axes:
        image = ax.images[0]
        rows, columns = np.nonzero(np.asarray(image.get_array()) > 0)
        if rows.size == np.asarray(image.get_array()).size or not rows.size:
            continue  # the plane across the axis
        left, right, bottom, top = image.get_extent()
        height, width = np.asarray(image.get_array()).shape
        x = left + (columns.mean() + 0.5) / width * (right - left)
        first, last = (top, bottom) if image.origin == "upper" else (bottom, top)
        y = first + (rows.mean() + 0.5) / height * (last - first)
        bright = ax.transData.transform((x, y))
        places = {t.get_text(): t.get_transform().transform(t.get_position()) for t in ax.texts}
        nearest = min(places, key=lambda name: np.hypot(*(places[name] - bright)))
        assert nearest == letter, ax.get_title()
        seen += 1
    assert seen == 2
    widths = [abs(np.diff(ax.images[0].get_extent()[:2])[0]) for ax in figure.axes]
    assert widths == pytest.approx([6.5, 6.5, 6.6])


def test_planes_and_pictures_refuse_what_they_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"shape \(3, 4\); expected \(z, y, x\)"):
        planes_figure(np.zeros((3, 4)), (1, 1, 1))
    figure = planes_figure(np.zeros((3, 4, 5)), (1, 1, 1), title="_a$b")
    with pytest.raises(UsageError, match=r"ending in \.png"):
        save_png(figure, tmp_path / "a.jpg")
    assert save_png(figure, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_figures_draw_into_given_axes() -> None:
    labels, p = data()
    own = Figure()
    axes = own.subplots(1, 3)
    assert roc_figure({"m": roc_curve(labels, p)}, ax=axes[0]) is own
    assert calibration_figure({"m": reliability_bins(labels, p)}, ax=axes[1]) is own
    assert score_distribution_figure(labels, p, ax=axes[2]) is own
    assert all(ax.has_data() for ax in axes)


def test_saved_files_are_whole_and_the_same_every_time(tmp_path: Path) -> None:
    labels, p = data()
    files = []
    for name in ("one", "two"):
        figure = roc_figure({"m": roc_curve(labels, p)})
        svg, png, csv = save_figure(figure, tmp_path / name / "roc.svg")
        ElementTree.parse(svg)
        assert png.read_bytes().startswith(b"\x89PNG")
        files.append((svg.read_text(), csv and csv.read_text()))
    assert files[0] == files[1]
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        "roc.csv",
        "roc.png",
        "roc.svg",
    ]


def test_pyplot_is_never_loaded() -> None:
    code = (
        "import sys\n"
        "from nodulenet.plots import *\n"
        "print('matplotlib.pyplot' in sys.modules, 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_pdf_has_a_page_a_figure_and_its_letters_and_no_date(tmp_path: Path) -> None:
    figures = [Figure(figsize=(2, 1)), Figure(figsize=(1, 2))]
    for figure in figures:
        figure.text(0.1, 0.5, "page")
    paths = [save_pdf(figures, tmp_path / name, title="a title") for name in ("a.pdf", "b.pdf")]
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert first.count(b"/Type /Page ") == 2
    assert b"(a title)" in first
    assert b"CreationDate" not in first
    assert b"/TrueType" in first or b"/CIDFontType2" in first  # letters, not drawings of them
    with pytest.raises(UsageError, match="no figure"):
        save_pdf([], tmp_path / "c.pdf")
    with pytest.raises(UsageError, match=r"ending in \.pdf"):
        save_pdf(figures, tmp_path / "c.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "b.pdf"]


def test_pixels_are_those_of_the_png_on_white(tmp_path: Path) -> None:
    figure = planes_figure(np.zeros((4, 4, 4)), (1.0, 1.0, 1.0))
    pixels = figure_pixels(figure)
    with Image.open(save_png(figure, tmp_path / "a.png")) as png:
        np.testing.assert_array_equal(pixels, np.asarray(png.convert("RGB")))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert figure.patch.get_alpha() == 0.0  # as before
