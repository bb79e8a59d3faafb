"""The finding sheet of a scan, in HTML and PDF from one content."""

from __future__ import annotations

from pathlib import Path

from nodulenet.atomic import write_text
from nodulenet.errors import UsageError
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.sheet_content import sheet_content
from nodulenet.inference.outputs.sheet_figures import sheet_figures
from nodulenet.inference.outputs.sheet_html import sheet_html
from nodulenet.inference.outputs.sources import Sources, Written
from nodulenet.plots.render import save_pdf

HTML_FILE = "finding-sheet.html"
PDF_FILE = "finding-sheet.pdf"


def write_sheet(answers: Answers, folder: Path, sources: Sources) -> Written:
    """Writes ``finding-sheet.html`` and ``finding-sheet.pdf``.

    Raises:
        UsageError: there is no scan, or the answers are of patches or of several scans.
        PointOutsideScanError: the answers are of another scan.
        DataError: a saliency map cannot be used.
    """
    if sources.volume is None:
        raise UsageError("sheet: there is no scan to show; give the scan of the answers")
    content = sheet_content(answers, sources.volume, sources.saliency)
    page, pages = folder / HTML_FILE, folder / PDF_FILE
    write_text(page, sheet_html(content))
    save_pdf(sheet_figures(content), pages, title=content.title)
    return Written((page, pages))
