from __future__ import annotations

import numpy as np
import pytest

from nodulenet.errors import UsageError
from nodulenet.plots import augmentation_figure


def test_originals_stand_first_in_their_row() -> None:
    originals = [np.full((4, 6), 0.1 * i) for i in range(3)]
    augmented = [[np.full((4, 6), 0.1 * i + 0.01 * k) for k in (1, 2)] for i in range(3)]
    figure = augmentation_figure(
        originals, augmented, names=["a", "b", "$c"], spacing_mm=(0.5, 1), title="how"
    )
    images = [ax.get_images()[0] for ax in figure.axes]
    shown = [round(float(image.get_array()[0, 0]), 3) for image in images]
    assert shown == [0.0, 0.01, 0.02, 0.1, 0.11, 0.12, 0.2, 0.21, 0.22]
    assert {image.get_clim() for image in images} == {(0.0, 1.0)}
    assert [ax.get_title() for ax in figure.axes] == ["a", "", "", "b", "", "", r"\$c", "", ""]
    assert figure.get_suptitle() == "how"


def test_rows_of_different_lengths_are_refused() -> None:
    patch = np.zeros((2, 2))
    with pytest.raises(UsageError, match="2 originals, 1 names"):
        augmentation_figure([patch, patch], [[patch], [patch]], names=["a"], spacing_mm=(1, 1))
    with pytest.raises(UsageError, match=r"\[1, 2\] augmented"):
        augmentation_figure(
            [patch, patch], [[patch], [patch, patch]], names=["a", "b"], spacing_mm=(1, 1)
        )
