"""The DICOM outputs as entries of the list of formats: which file, from which source series."""

from __future__ import annotations

import tempfile
from pathlib import Path

from nodulenet.ct import CTVolume
from nodulenet.errors import UsageError
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.dicom_source import SourceSeries, reference_of, source_of
from nodulenet.inference.outputs.sources import Sources, Written

SR_FILE = "report-sr.dcm"
CAPTURE_NAME = "finding-sheet-page"
PDF_FILE = "finding-sheet-pdf.dcm"

CAPTURE_DPI = 150
"""A page of A4 is then 1240 x 1754 pixels: legible, and 6.5 MB without compression."""


def write_dicom_sr(answers: Answers, folder: Path, sources: Sources) -> Written:
    """Writes ``report-sr.dcm``: see :func:`nodulenet.inference.outputs.dicom_sr.write_sr`."""
    from nodulenet.inference.outputs.dicom_sr import write_sr

    if answers.table.empty:
        # That of an earlier answer must not be taken for this one's.
        (folder / SR_FILE).unlink(missing_ok=True)
        return Written((), ("dicom-sr: not one finding was answered, so there is no report",))
    _, source = _scan_and_series("dicom-sr", sources)
    return Written((write_sr(answers, source, folder / SR_FILE),))


def write_dicom_capture(answers: Answers, folder: Path, sources: Sources) -> Written:
    """Writes the finding sheet as images, ``finding-sheet-page_001.dcm``, ..."""
    from nodulenet.inference.outputs.dicom_capture import write_secondary_capture
    from nodulenet.inference.outputs.sheet_content import sheet_content
    from nodulenet.inference.outputs.sheet_figures import sheet_figures
    from nodulenet.plots.render import figure_pixels

    volume, source = _scan_and_series("dicom-capture", sources)
    figures = sheet_figures(sheet_content(answers, volume, sources.saliency))
    pages = [figure_pixels(figure, dpi=CAPTURE_DPI) for figure in figures]
    files = write_secondary_capture(answers, source, pages, folder, name=CAPTURE_NAME)
    for page in folder.glob(f"{CAPTURE_NAME}_*.dcm"):
        if page not in files:  # of an earlier answer with more pages
            page.unlink()
    return Written(tuple(files))


def write_dicom_pdf(answers: Answers, folder: Path, sources: Sources) -> Written:
    """Writes the finding sheet's PDF in ``finding-sheet-pdf.dcm``."""
    from nodulenet.inference.outputs.dicom_pdf import write_encapsulated_pdf
    from nodulenet.inference.outputs.sheet_content import sheet_content
    from nodulenet.inference.outputs.sheet_figures import sheet_figures
    from nodulenet.plots.render import save_pdf

    volume, source = _scan_and_series("dicom-pdf", sources)
    content = sheet_content(answers, volume, sources.saliency)
    with tempfile.TemporaryDirectory() as scratch:
        made = save_pdf(sheet_figures(content), Path(scratch) / "sheet.pdf", title=content.title)
        pdf = made.read_bytes()
    return Written((write_encapsulated_pdf(answers, source, pdf, folder / PDF_FILE),))


def _scan_and_series(name: str, sources: Sources) -> tuple[CTVolume, SourceSeries]:
    volume = sources.volume
    if volume is None:
        raise UsageError(f"{name}: there is no scan; give the scan of the answers")
    own = volume.source.resolve() if volume.source is not None else None
    if sources.dicom is None or (volume.format == "dicom" and sources.dicom.resolve() == own):
        return volume, source_of(volume)
    return volume, reference_of(volume, sources.dicom)
