"""The finding sheet as one HTML file that needs no network and no scripts."""

from __future__ import annotations

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nodulenet.inference.outputs.sheet_content import SheetContent
from nodulenet.inference.outputs.sheet_views import SheetView
from nodulenet.plots.montage import saliency_rgba
from nodulenet.plots.page import PAGE_COLOURS, PAPER_COLOURS
from nodulenet.plots.png import png_data_uri


def sheet_html(content: SheetContent) -> str:
    """The page; the same content gives the same text."""
    environment = Environment(
        loader=PackageLoader("nodulenet.inference.outputs", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["grey_png"] = _grey
    environment.filters["saliency_png"] = _colours
    return environment.get_template("sheet.html.j2").render(
        content=content,
        page_colours=Markup(PAGE_COLOURS),
        paper_colours=Markup(PAPER_COLOURS),
    )


def _grey(view: SheetView) -> str:
    return png_data_uri(np.ascontiguousarray(view.grey))


def _colours(view: SheetView) -> str:
    if view.saliency is None:
        return ""
    return png_data_uri(np.round(255 * saliency_rgba(view.saliency)).astype(np.uint8))
