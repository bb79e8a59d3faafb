"""The map lies on the plane where it belongs, and the figure says what it is."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from nodulenet.errors import UsageError
from nodulenet.plots.explanation import draw_explained, explained_planes, explanation_figure


def test_map_and_image_show_the_same_place_in_every_plane() -> None:
    body = np.full((8, 10, 12), -900.0)
    body[3:5, 4:6, 1] = 300.0  # to the patient's right
    body[6, 4:6, 5:7] = 300.0  # towards the head
    for plane in explained_planes(body, body / 900, (0.7, 0.8, 2.0)):
        np.testing.assert_allclose(plane.saliency, plane.image / 900)
    axial, coronal, sagittal = explained_planes(body, body / 900, (0.7, 0.8, 2.0))
    assert (coronal.spacing_mm, sagittal.spacing_mm) == ((0.7, 2.0), (0.8, 2.0))
    assert axial.image[4, 1] == 300
    assert coronal.image[1, 5] == sagittal.image[1, 4] == 300  # row 6 of 8 from the feet
    stored = np.stack([np.full((6, 6), float(i)) for i in range(3)])
    stored[1, 5] = stored[2, 5] = 9.0
    _, coronal, sagittal = explained_planes(stored, stored, (1, 1, 1), kind="planes")
    assert (coronal.image[0] == 9).all()
    assert (sagittal.saliency[0] == 9).all()


def test_what_speaks_for_and_against_differs_without_colours_too() -> None:
    saliency = np.zeros((20, 20))
    saliency[4:8, 4:8], saliency[12:16, 12:16] = 1.0, -1.0
    (plane,) = explained_planes(np.zeros((20, 20)), saliency, (0.5, 1.0, 1.0))
    figure = draw_explained(plane)
    (ax,) = figure.axes
    overlay = np.asarray(next(i for i in ax.images if i.get_gid() == "saliency").get_array())
    assert tuple(overlay[5, 5, :3]) == to_rgb("#e69f00")
    assert tuple(overlay[13, 13, :3]) == to_rgb("#0072b2")
    solid, dashed = (c for c in ax.collections if c.get_gid() == "saliency-line")
    # (x, y) in mm: the first lies left and up, where the picture's rows begin.
    assert solid.get_paths()[0].vertices.mean(axis=0) == pytest.approx([-2.0, -4.0], abs=0.3)
    assert dashed.get_paths()[0].vertices.mean(axis=0) == pytest.approx([2.0, 4.0], abs=0.3)
    assert solid.get_linestyle() != dashed.get_linestyle()
    assert ax.get_xlim() == (-5.0, 5.0)
    bare = draw_explained(plane, with_map=False).axes[0]
    assert not bare.collections
    assert len(bare.images) == 1


def words(figure: Figure) -> str:
    figure.canvas.draw()
    texts = [*figure.texts, *(ax.title for ax in figure.axes)]
    return " ".join(t.get_text() for t in texts).replace("\n", " ")


@pytest.mark.parametrize("shape", [(9, 9, 9), (9, 9)])
def test_the_figure_says_what_it_is(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(-600, 300, shape)
    planes = explained_planes(values, values / np.abs(values).max(), (1, 1, 1))
    figure = explanation_figure(
        planes,
        title="scan at (1, 2, 3)",
        says=["Grad-CAM at conv_1 (6 x 6 cells), mean of $5 models"],
        positive="rated malignant",
        unit="fall of the probability",
        strongest=0.2,
    )
    text = words(figure)
    assert "Grad-CAM at conv_1" in text
    assert "against “rated malignant”: fall" in text
    labels = [t.get_text() for t in figure.axes[-1].get_xticklabels()]
    assert labels[0] == "-0.2"
    assert labels[-1] == "+0.2"
    # Nothing stands outside the figure.
    renderer = FigureCanvasAgg(figure).get_renderer()
    box = figure.bbox
    for artist in (*figure.texts, *(t for ax in figure.axes for t in (*ax.texts, ax.title))):
        extent = artist.get_window_extent(renderer)
        assert extent.x0 >= box.x0 - 1
        assert extent.x1 <= box.x1 + 1
        assert extent.y0 >= box.y0 - 1
        assert extent.y1 <= box.y1 + 1


def test_nothing_or_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="no planes"):
        explanation_figure([], title="", says=[], positive="x")
    with pytest.raises(UsageError, match=r"shape \(3, 3\) with a map of \(4, 4\)"):
        explained_planes(np.zeros((3, 3)), np.zeros((4, 4)), (1, 1, 1))
