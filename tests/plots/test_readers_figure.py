"""The model among the readers, and the table of their agreement."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from nodulenet.evaluation import model_against_readers, read_ratings, reader_agreement
from nodulenet.phantom import simulated_readings
from nodulenet.plots import agreement_figure, figure_svg, readers_figure


def test_figures_show_the_numbers() -> None:
    table = simulated_readings(patients=40, seed=3)
    ratings = read_ratings(table, readers=[c for c in table if c.startswith("reader_")])
    score = table.set_index("finding_id")["diameter_mm"]
    comparison = model_against_readers(ratings, score, n_bootstrap=50)
    figure = readers_figure(comparison, model="diameter")
    lines = {line.get_gid(): line for line in figure.axes[0].lines if line.get_gid()}
    point = comparison.readers[2]["operating_point"]
    drawn = lines["series-1-point-2"]
    assert drawn.get_ydata()[0] == point["sensitivity"]["value"]
    assert drawn.get_xdata()[0] == 1 - point["specificity"]["value"]
    svg = figure_svg(figure)
    assert f"diameter: AUC {comparison.any_reading['model_auc']['value']:.3f}" in svg

    agreement = reader_agreement(ratings, n_bootstrap=50)
    shares = np.array(agreement["table"]) / np.sum(agreement["table"], axis=1, keepdims=True)
    given = Figure().add_subplot()
    assert agreement_figure(agreement, ax=given) is given.get_figure()
    texts = {text.get_gid(): text.get_text() for text in given.texts}
    assert float(texts["cell-4-3"]) == pytest.approx(100 * shares[4, 3], abs=0.5)
