"""Figures into SVG, PNG, PDF and pixels, the same bytes every time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from nodulenet.atomic import atomic_path
from nodulenet.errors import UsageError

PNG_DPI = 200
_SVG: dict[Any, Any] = {
    # Letters stay letters: readable by machines, searchable, small; with fixed identifiers.
    "svg.fonttype": "none",
    "svg.hashsalt": "nodulenet",
}
_PDF: dict[Any, Any] = {
    "pdf.fonttype": 42,  # TrueType: the letters can be searched and copied
    "image.composite_image": False,  # else picture and overlay become one at another resolution
}


def figure_svg(figure: Figure) -> str:
    """The figure as SVG text, without date, so that equal figures are equal bytes."""
    buffer = io.StringIO()
    with _settled(figure):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="none")
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path) -> tuple[Path, Path]:
    """Writes ``path`` with the endings .svg and .png (200 dpi), each whole or not at all.

    Both have a white background, for papers and slides.

    Returns:
        The two paths.
    """
    svg, png = Path(path).with_suffix(".svg"), Path(path).with_suffix(".png")
    with _settled(figure), atomic_path(svg) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None}, facecolor="white")
    return svg, save_png(figure, png)


def save_png(figure: Figure, path: str | Path) -> Path:
    """Writes a PNG (200 dpi, white background), whole or not at all.

    Raises:
        UsageError: the path does not end in .png.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: is to be a picture; expected a name ending in .png")
    with _settled(figure), atomic_path(target) as temporary:
        figure.savefig(temporary, format="png", dpi=PNG_DPI, facecolor="white")
    return target


def save_pdf(figures: Iterable[Figure], path: str | Path, *, title: str = "") -> Path:
    """Writes a PDF, a page a figure, without dates, whole or not at all.

    Letters stay letters that can be searched, lines stay lines, and pictures keep their pixels.

    Args:
        figures: one a page, taken one after the other.
        path: of the file.
        title: of the document. Defaults to none.

    Returns:
        The path.

    Raises:
        UsageError: the path does not end in .pdf, or there is no figure.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    target = Path(path)
    if target.suffix.lower() != ".pdf":
        raise UsageError(f"{target}: is to be a PDF; expected a name ending in .pdf")
    # None takes the key out; a title of nothing would be one.
    facts = {"Title": title or None, "CreationDate": None}
    with mpl.rc_context(_PDF), atomic_path(target) as temporary:
        with PdfPages(temporary, metadata=facts) as pages:
            for figure in figures:
                with _settled(figure):
                    pages.savefig(figure, facecolor="white")
            empty = pages.get_pagecount() == 0
        if empty:
            raise UsageError(f"{target}: no figure was given; a PDF needs a page at least")
    return target


def figure_pixels(figure: Figure, *, dpi: float = PNG_DPI) -> npt.NDArray[np.uint8]:
    """The figure as (rows, columns, 3) in 0..255, red, green and blue, on white.

    Args:
        figure: the figure.
        dpi: dots an inch. Defaults to that of the PNG files.
    """
    buffer = io.BytesIO()
    with _settled(figure):
        figure.savefig(buffer, format="rgba", dpi=dpi, facecolor="white")
        width = int(figure.get_figwidth() * dpi)
    colours = np.frombuffer(buffer.getvalue(), dtype=np.uint8).reshape(-1, width, 4)
    return colours[:, :, :3].copy()


@contextmanager
def _settled(figure: Figure) -> Iterator[None]:
    """Lays the figure out once, not again for every file: that halves the time of a report."""
    engine, alpha = figure.get_layout_engine(), figure.patch.get_alpha()
    figure.patch.set_alpha(None)
    with mpl.rc_context(_SVG), warnings.catch_warnings():
        # Letters that the font lacks become boxes in the PNG; the SVG keeps them as they are.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        try:
            yield
        finally:
            figure.set_layout_engine(engine)
            figure.patch.set_alpha(alpha)
