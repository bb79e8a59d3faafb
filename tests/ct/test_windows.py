from __future__ import annotations

import numpy as np
import pytest

from nodulenet.ct import WINDOWS, apply_window
from nodulenet.errors import UsageError


def test_single_window_keeps_the_shape_and_clips():
    hu = np.array([[-2000, -1000], [-300, 400], [3000, 50]], np.int16)
    mapped = apply_window(hu, "luna16")
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped, [[0, 0], [0.5, 1], [1, 0.75]], atol=1e-6)
    np.testing.assert_array_equal(apply_window(hu, (-1000, 400)), mapped)


def test_several_windows_are_the_last_axis():
    hu = np.linspace(-1100, 1400, 60).reshape(3, 4, 5)
    names = list(WINDOWS)
    both = apply_window(hu, names)
    assert both.shape == (3, 4, 5, len(names))
    for channel, name in enumerate(names):
        low, high = WINDOWS[name]
        expected = np.interp(hu, [low, high], [0, 1])
        np.testing.assert_allclose(both[..., channel], expected, atol=1e-6)
    assert apply_window(hu, ["lung"]).shape == (3, 4, 5, 1)


@pytest.mark.parametrize(
    "window", ["lungs", (400, -1000), (0, 0), (0, float("nan")), [], (1, 2, 3)]
)
def test_impossible_windows_are_refused(window):
    with pytest.raises(UsageError, match="window"):
        apply_window(np.zeros(3), window)
