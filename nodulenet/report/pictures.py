"""Patches as pictures in the page: grey values in the lung window, with a scale bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.ct.windows import apply_window
from nodulenet.plots.montage import saliency_rgba, scale_bar_mm
from nodulenet.plots.png import png_data_uri
from nodulenet.report.content import GalleryItem, Plane
from nodulenet.report.format import number

_PNG_SIDE = 256


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture.

    Attributes:
        name: ``axial`` and so on; empty for a patch of one plane.
        source: The PNG as a data URI.
        overlay: The saliency as a PNG of the same size, or nothing.
        alt: Text in its place.
        aspect: Width by height in millimetres, for CSS.
        bar_mm: Length of the scale bar.
        bar_percent: The same in per cent of the width.
    """

    name: str
    source: str
    overlay: str
    alt: str
    aspect: str
    bar_mm: float
    bar_percent: float


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A gallery item in the page: one view, or the three planes of a 3D patch."""

    views: tuple[View, ...]
    item: GalleryItem


def picture(item: GalleryItem, class_names: Sequence[str]) -> Picture:
    """The pictures of an item and the words for those who cannot see them.

    Args:
        item: The patch.
        class_names: Name of the negative and of the positive class.
    """
    planes = item.planes or (
        Plane(
            name="axial",
            image_hu=item.image_hu,
            spacing_mm=item.spacing_mm,
            saliency=item.saliency,
        ),
    )
    called = (
        f"{class_names[int(item.caption['label'])]}, probability of “{class_names[1]}” "
        f"{number(item.caption['probability'], 2)}"
    )
    return Picture(
        views=tuple(_view(plane, called, named=bool(item.planes)) for plane in planes), item=item
    )


def _view(plane: Plane, called: str, *, named: bool) -> View:
    height, width = plane.image_hu.shape
    across_mm, down_mm = width * plane.spacing_mm[0], height * plane.spacing_mm[1]
    bar = scale_bar_mm(across_mm)
    where = f"{plane.name} plane, " if named else ""
    return View(
        name=plane.name if named else "",
        source=png_data_uri(_bytes(apply_window(plane.image_hu, "lung")), largest=_PNG_SIDE),
        overlay=""
        if plane.saliency is None
        else png_data_uri(_bytes(saliency_rgba(plane.saliency)), largest=_PNG_SIDE),
        alt=f"CT patch, {where}lung window, {across_mm:.0f} mm wide: {called}"
        + ("; with a saliency map" if plane.saliency is not None else ""),
        aspect=f"{across_mm:.4g} / {down_mm:.4g}",
        bar_mm=bar,
        bar_percent=100 * bar / across_mm,
    )


def _bytes(shares: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    return np.round(255 * shares).astype(np.uint8)
