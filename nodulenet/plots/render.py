"""Figures into SVG, PNG, CSV, PDF and pixels, the same bytes every time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from nodulenet.atomic import atomic_path, write_text
from nodulenet.errors import UsageError
from nodulenet.plots.numbers import COLUMNS, figure_numbers

PNG_DPI = 200
_ENDINGS = (".svg", ".png", ".csv")
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


class SavedFigure(NamedTuple):
    """The files of a figure; ``csv`` is None where it shows pictures alone."""

    svg: Path
    png: Path
    csv: Path | None


def save_figure(figure: Figure, path: str | Path) -> SavedFigure:
    """Writes ``path`` with the endings .svg, .png (200 dpi) and .csv, each whole or not at all.

    Both pictures have a white background, for papers and slides. The CSV holds the numbers that
    are drawn, to the last digit, as :func:`nodulenet.plots.figure_numbers` gives them; there is
    none where a figure shows pictures alone.

    Args:
        figure: The figure.
        path: Of the files, with one of these endings or none.

    Returns:
        The three paths.

    Raises:
        UsageError: a CSV of this name is there that was not written with a figure; it would be
            lost.
    """
    target = Path(path)
    # Not with_suffix, which would make "v2.1" the same as "v2.0".
    name = target.stem if target.suffix.lower() in _ENDINGS else target.name
    svg, png, csv = (target.with_name(name + ending) for ending in _ENDINGS)
    header = ",".join(COLUMNS)
    if csv.exists() and not _starts_with(csv, header):
        raise UsageError(
            f"{csv}: holds something else than the numbers of a figure, which would be written "
            "there; give the figure another name"
        )
    numbers = figure_numbers(figure)
    with _settled(figure), atomic_path(svg) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None}, facecolor="white")
    save_png(figure, png)
    if numbers.empty:
        # That of a figure which had this name before would tell of another one.
        csv.unlink(missing_ok=True)
        return SavedFigure(svg, png, None)
    write_text(csv, numbers.to_csv(index=False, lineterminator="\n"))
    return SavedFigure(svg, png, csv)


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


def _starts_with(path: Path, header: str) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(header)) == header.encode()
