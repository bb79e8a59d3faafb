"""Moving through the slices of a scan in a notebook."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nodulenet.ct import WINDOWS, CTVolume, open_ct
from nodulenet.ct.windows import Window, resolve_window
from nodulenet.errors import MissingDependencyError
from nodulenet.plots.planes import PLANES
from nodulenet.plots.slices import Plane, named_points, slice_at, slice_count, slice_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 100


class SliceBrowser:
    """A picture of a slice, and what moves it: plane, slice, window, and a point to go to.

    As the last line of a cell it shows itself. Where nothing runs any more, such as in a notebook
    that was exported to HTML, its picture at that moment stands there.

    Attributes:
        plane, slice, window, point: the controls, ipywidgets whose ``value`` may be set; slices
            are counted from 1. ``point`` is None where no points were given.
        picture: the ``ipywidgets.Image``.
    """

    def __init__(
        self,
        volume: CTVolume,
        points_lps_mm: npt.NDArray[np.float64],
        names: Sequence[str],
        window: Window,
        plane: Plane,
    ) -> None:
        widgets = _ipywidgets()
        self._volume = volume.for_many_windows()
        self._points, self._names = points_lps_mm, list(names)
        windows: dict[str, Window] = {
            _window_words(name): name for name in ("lung", "mediastinum", "bone")
        }
        if window not in windows.values():
            windows = {_window_words(window): window, **windows}
        self.plane = widgets.Dropdown(options=PLANES, value=plane, description="plane")
        self.slice = widgets.IntSlider(
            1, min=1, max=1, description="slice", layout=widgets.Layout(width="30em")
        )
        self.window = widgets.Dropdown(
            options=list(windows.items()), value=window, description="window"
        )
        self.point: Any = None
        if len(self._points):
            places = [(name, i) for i, name in enumerate(self._names)]
            self.point = widgets.Dropdown(options=places, value=0, description="go to")
        # In its own size: stretched over the page it would be blurred.
        own_size = widgets.Layout(align_self="flex-start", max_width="100%")
        self.picture = widgets.Image(format="png", layout=own_size)
        self._drawn: tuple[Any, ...] = ()
        self._to_plane()
        self.plane.observe(lambda _: self._to_plane(), "value")
        for control in (self.slice, self.window):
            control.observe(lambda _: self._draw(), "value")
        if self.point is not None:
            self.point.observe(lambda _: self._to_point(), "value")
        controls = [c for c in (self.plane, self.window, self.point) if c is not None]
        self._box = widgets.VBox([widgets.HBox(controls), self.slice, self.picture])

    def figure(self) -> Figure:
        """The slice that is shown now, as a Matplotlib figure, e.g. for ``save_figure``."""
        return slice_figure(
            self._volume,
            self.slice.value - 1,
            self.plane.value,
            points_lps_mm=self._points,
            names=self._names,
            window=self.window.value,
        )

    def _to_plane(self) -> None:
        count = slice_count(self._volume, self.plane.value)
        with self.slice.hold_trait_notifications():
            self.slice.max = count
            self.slice.value = (count + 1) // 2
        self._to_point()

    def _to_point(self) -> None:
        if self.point is not None:
            point = self._points[self.point.value]
            self.slice.value = slice_at(self._volume, point, self.plane.value) + 1
        self._draw()

    def _draw(self) -> None:
        wanted = (self.plane.value, self.slice.value, self.window.value)
        if wanted == self._drawn:
            return
        stream = io.BytesIO()
        self.figure().savefig(stream, format="png", dpi=_DPI, facecolor="white")
        self.picture.value = stream.getvalue()
        self._drawn = wanted

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The controls for a running notebook, the picture for everything else."""
        live: dict[str, Any] = self._box._repr_mimebundle_()
        still = {"image/png": b64encode(self.picture.value).decode("ascii")}
        return {**live, **still, "text/plain": f"SliceBrowser of {self._volume!r}"}


def browse_slices(
    scan: CTVolume | str | Path,
    points_lps_mm: npt.ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    window: Window = "lung",
    plane: Plane = "axial",
) -> SliceBrowser:
    """A scan to be moved through in a notebook, its coordinates in LPS mm.

    It opens at the first point, else in the middle. Points are ringed on their slice, dashed on
    those within 4 mm of it.

    Args:
        scan: an open scan, or what :func:`nodulenet.ct.open_ct` reads.
        points_lps_mm: (n, 3) x, y, z in LPS mm. Defaults to none.
        names: one short text a point. Defaults to ``point 1``, ``point 2`` ...
        window: the first window, a name of :data:`nodulenet.ct.WINDOWS` or (lowest, highest) HU.
            Defaults to "lung".
        plane: the first plane: "axial", "coronal" or "sagittal". Defaults to "axial".

    Returns:
        The browser; as the last line of a cell it shows itself.

    Raises:
        MissingDependencyError: ipywidgets is not installed.
        ScanError: the scan cannot be read.
        UsageError: an unknown window or plane, points of another shape, or another number of names.

    Example:
        >>> browse_slices("scan.nii.gz", [[56.2, 86.2, -115.9]])  # doctest: +SKIP
    """
    _ipywidgets()
    resolve_window(window)
    points, texts = named_points(points_lps_mm, names)
    if names is None:
        texts = [f"point {i + 1}" for i in range(len(points))]
    volume = scan if isinstance(scan, CTVolume) else open_ct(scan)
    slice_count(volume, plane)  # refuses an unknown plane
    return SliceBrowser(volume, points, texts, window, plane)


def _ipywidgets() -> Any:
    try:
        # By name: type checkers need not find it.
        return import_module("ipywidgets")
    except ImportError as error:
        raise MissingDependencyError(
            "the slice browser needs ipywidgets, which is not installed; run pip install "
            "'nodulenet[notebooks]', or draw single slices with nodulenet.plots.slice_figure"
        ) from error


def _window_words(window: Window) -> str:
    low, high = resolve_window(window)
    name = window if isinstance(window, str) and window in WINDOWS else "own"
    return f"{name} ({low:g} to {high:g} HU)"
