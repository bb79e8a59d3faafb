"""The slice browser: its controls move the picture, and it can be seen without a kernel."""

from __future__ import annotations

import io
import sys
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from nodulenet.ct import CTVolume
from nodulenet.errors import MissingDependencyError, UsageError
from nodulenet.notebook import SliceBrowser, browse_slices

HU = np.zeros((5, 30, 40))
HU[3] = 400  # white in the lung window, in slice 4 of 5
POINTS = [[10.0, 12.0, 6.0], [20.0, 5.0, 0.0]]  # slices 4 and 1


def volume() -> CTVolume:
    return CTVolume.from_array(HU, (1.0, 1.0, 2.0), series_uid="a scan")


def brightness(browser: SliceBrowser) -> float:
    """Of what is shown, in the middle of the picture."""
    pixels = np.asarray(Image.open(io.BytesIO(browser.picture.value)).convert("L"))
    rows, columns = pixels.shape
    return float(np.median(pixels[rows // 3 : -rows // 3, columns // 3 : -columns // 3]))


def test_the_slider_moves_to_the_right_slice() -> None:
    browser = browse_slices(volume())
    assert (browser.slice.value, browser.slice.max) == (3, 5)
    assert brightness(browser) == pytest.approx(255 * 1000 / 1400, abs=2)  # 0 HU in -1000..400
    browser.slice.value = 4
    assert brightness(browser) > 250
    (picture,) = browser.figure().findobj(lambda artist: artist.get_gid() == "slice")
    np.testing.assert_array_equal(picture.get_array(), HU[3])
    browser.window.value = "bone"
    assert brightness(browser) == pytest.approx(255 * 900 / 1800, abs=2)
    browser.plane.value = "sagittal"
    assert (browser.slice.value, browser.slice.max) == (20, 40)


def test_it_opens_at_the_first_point_and_goes_to_others() -> None:
    browser = browse_slices(volume(), POINTS, names=["one", "two"], window=(-200, 300))
    assert browser.slice.value == 4
    assert [name for name, _ in browser.point.options] == ["one", "two"]
    assert browser.window.options[0][0] == "own (-200 to 300 HU)"
    browser.point.value = 1
    assert browser.slice.value == 1
    browser.plane.value = "coronal"
    assert browser.slice.value == 6


def test_its_picture_stands_where_no_widgets_run() -> None:
    browser = browse_slices(volume(), POINTS)
    shown = browser._repr_mimebundle_()
    assert b64decode(shown["image/png"]) == browser.picture.value
    assert shown["application/vnd.jupyter.widget-view+json"]["version_major"] == 2
    assert "a scan" in shown["text/plain"]


def test_bad_arguments_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="plane is 'top'"):
        browse_slices(volume(), plane="top")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"shape \(1, 2\)"):
        browse_slices(volume(), [[1, 2]])
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'nodulenet\[notebooks\]'"):
        browse_slices(volume())
