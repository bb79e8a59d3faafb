"""Scale bars have the length that is written on them; overlays lie where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from nodulenet.errors import UsageError
from nodulenet.plots import montage_figure, planes_figure
from nodulenet.plots.montage import scale_bar_mm
from nodulenet.plots.planes import middle_planes


def bar(ax: Axes) -> Rectangle:
    return next(p for p in ax.patches if p.get_gid() == "scale-bar" and isinstance(p, Rectangle))


def bar_text(ax: Axes) -> str:
    return next(t.get_text() for t in ax.texts if t.get_gid() == "scale-bar-length")


def overlay(ax: Axes) -> AxesImage:
    return next(image for image in ax.images if image.get_gid() == "saliency")


@pytest.mark.parametrize(
    ("width", "pixel", "length"), [(64, 0.7, 10), (20, 0.7, 5), (10, 0.5, 2), (4, 0.5, 1)]
)
def test_the_bar_of_a_montage_is_as_long_as_it_says(
    width: int, pixel: float, length: float
) -> None:
    figure = montage_figure([np.zeros((30, width))], spacings_mm=(pixel, 1.0))
    ax = figure.axes[0]
    assert bar(ax).get_width() * pixel == pytest.approx(length)
    assert bar_text(ax) == f"{length} mm"
    box = bar(ax)
    # Within the picture, near its lower left; the text above the bar, not on it.
    x, y = box.get_xy()
    assert -0.5 < x < width / 3
    assert 15 < y + box.get_height() < y < 29.5
    text = next(t for t in ax.texts if t.get_gid() == "scale-bar-length")
    assert text.get_position()[1] < y + box.get_height()
    assert scale_bar_mm(width * pixel) == length


def test_no_pixel_size_no_bar() -> None:
    ax = montage_figure([np.zeros((8, 8))]).axes[0]
    assert not ax.patches
    assert not ax.texts


def test_the_bar_of_planes_is_in_millimetres_of_the_axis() -> None:
    for ax in planes_figure(np.zeros((20, 40, 40)), (0.7, 0.7, 2.5)).axes:
        assert bar(ax).get_width() == pytest.approx(10)
        assert bar_text(ax) == "10 mm"
        # Every plane stays in its own proportions.
        assert ax.get_xlim() == pytest.approx(tuple(ax.images[0].get_extent()[:2]))
        assert ax.get_ylim() == pytest.approx(tuple(ax.images[0].get_extent()[2:]))


def test_saliency_is_coloured_by_sign_and_strength() -> None:
    patch = np.zeros((6, 9))
    saliency = np.zeros((6, 9))
    saliency[1, 2], saliency[4, 7], saliency[0, 0] = 1.0, -0.5, 3.0
    figure = montage_figure([patch, patch], spacings_mm=(0.5, 1.0), saliency=[saliency, None])
    first, second = figure.axes
    colours = np.asarray(overlay(first).get_array())
    assert colours.shape == (6, 9, 4)
    assert colours[1, 2, 3] == pytest.approx(0.65)
    assert colours[4, 7, 3] == pytest.approx(0.325)
    assert colours[0, 0, 3] == pytest.approx(0.65)  # cut off at 1
    assert (colours[..., 3] > 0).sum() == 3
    assert tuple(colours[1, 2, :3]) == pytest.approx(to_rgb("#e69f00"))
    assert tuple(colours[4, 7, :3]) == pytest.approx(to_rgb("#0072b2"))
    assert len(second.images) == 1
    assert first.get_aspect() == 2.0


def test_saliency_lies_on_the_planes_as_the_patch_does() -> None:
    hu = np.full((8, 10, 12), -900.0)
    saliency = np.zeros(hu.shape)
    saliency[-1, 4:6, 5:7] = 1.0  # the head's end, in the middle of the others
    _, coronal, sagittal = planes_figure(hu, (1, 1, 1), saliency=saliency).axes
    for ax in (coronal, sagittal):
        strength = np.asarray(overlay(ax).get_array())[..., 3]
        assert strength[0].max() == pytest.approx(0.65)
        assert strength[1:].max() == 0
        assert overlay(ax).get_extent() == ax.images[0].get_extent()


def test_middle_planes_are_as_looked_at() -> None:
    volume = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    axial, coronal, sagittal = middle_planes(volume)
    np.testing.assert_array_equal(axial, volume[1])
    # Four rows have no middle one: the mean of the second and third. The head comes first.
    np.testing.assert_array_equal(coronal, volume[::-1, 1:3].mean(axis=1))
    np.testing.assert_array_equal(sagittal, volume[::-1, :, 2])


def test_saliency_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"saliency 0 has shape \(3, 3\); expected .* \(4, 4\)"):
        montage_figure([np.zeros((4, 4))], saliency=[np.zeros((3, 3))])
    with pytest.raises(UsageError, match="1 saliency maps for 2 patches"):
        montage_figure([np.zeros((4, 4))] * 2, saliency=[None])
    with pytest.raises(UsageError, match=r"saliency has shape \(3, 3\)"):
        planes_figure(np.zeros((4, 4, 4)), (1, 1, 1), saliency=np.zeros((3, 3)))
