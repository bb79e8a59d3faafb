"""The finding sheet as pages of A4, for PDF and for DICOM."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from nodulenet.inference.outputs.sheet_content import Overview, SheetContent, SheetFinding
from nodulenet.inference.outputs.sheet_page import (
    HEIGHT_MM,
    INNER_MM,
    MARGIN_MM,
    WIDTH_MM,
    Page,
    line_mm,
    text_mm,
    wrapped,
)
from nodulenet.inference.outputs.sheet_views import SheetView
from nodulenet.plots.planes import draw_plane
from nodulenet.plots.style import GRID, INK, MUTED

_SIZE = 8.0
_SMALL = 7.0
_HEADING = 10.5
_GAP_MM = 4.0
_LABEL_MM = 30.0
_ANSWER_MM = 58.0
_VIEW_GAP_MM = 3.0
_VIEW_MM = (INNER_MM - 2 * _VIEW_GAP_MM) / 3
_BAD, _WARN_INK, _WARN_PAGE, _WARN_LINE = "#86181d", "#6a4a00", "#fff8e1", "#d4a72c"


def sheet_figures(content: SheetContent) -> list[Figure]:
    """The pages, each a white A4 page that is complete in itself.

    Every page says what the sheet is, that it is for research only, which page of how many it is,
    and which model answered.
    """
    flow = _Flow(content)
    flow.facts(content.facts, _LABEL_MM)
    for text in content.warnings:
        flow.warning(text)
    if content.failures:
        flow.heading("Not answered", needed_mm=15.0)
        for text in content.failures:
            flow.paragraph(text)
    if content.overview:
        flow.overview(content.overview)
    for finding in content.findings:
        flow.finding(finding)
    if content.legend:
        flow.paragraph(content.legend, colour=MUTED, size=_SMALL)
    return flow.finished()


class _Flow:
    """Writes from top to bottom, and begins a new page where the old one is full."""

    def __init__(self, content: SheetContent) -> None:
        self._content = content
        self._pages: list[Page] = []
        self._foot = [
            line for text in content.footer for line in wrapped(text, INNER_MM - 20.0, _SMALL)
        ]
        self._bottom = HEIGHT_MM - MARGIN_MM - len(self._foot) * line_mm(_SMALL) - 3.0
        self._begin()

    def _begin(self) -> None:
        self._page = Page()
        self._pages.append(self._page)
        self._page.write([self._content.title], MARGIN_MM, MARGIN_MM - 2.0, size=15.0, bold=True)
        badge = self._content.badge
        width = text_mm(badge, 9.0, bold=True) + 6.0
        left = WIDTH_MM - MARGIN_MM - width
        self._page.box(
            left, MARGIN_MM - 1.5, width, 6.6, facecolor="#ffebe9", edgecolor="#cf222e", linewidth=1
        )
        self._page.write([badge], left + 3.0, MARGIN_MM - 0.3, size=9.0, bold=True, colour=_BAD)
        self._y = MARGIN_MM + 9.0

    def _room(self, needed_mm: float) -> None:
        """Makes sure that so much fits, unless the page is new, which is all the room there is."""
        if self._y + needed_mm > self._bottom and self._y > MARGIN_MM + 9.5:
            self._begin()

    def finished(self) -> list[Figure]:
        """All pages, with their feet, now that their number is known."""
        for number, page in enumerate(self._pages, start=1):
            page.box(MARGIN_MM, self._bottom + 1.2, INNER_MM, 0.2, facecolor=GRID, linewidth=0)
            page.write(self._foot, MARGIN_MM, self._bottom + 2.2, size=_SMALL, colour=MUTED)
            page.write(
                [f"page {number} of {len(self._pages)}"],
                WIDTH_MM - MARGIN_MM,
                self._bottom + 2.2,
                size=_SMALL,
                colour=MUTED,
                align="right",
            )
        return [page.figure for page in self._pages]

    def paragraph(self, text: str, *, colour: str = INK, size: float = _SIZE) -> None:
        """Text over the full width."""
        for line in wrapped(text, INNER_MM, size):
            self._room(line_mm(size))
            self._page.write([line], MARGIN_MM, self._y, size=size, colour=colour)
            self._y += line_mm(size)
        self._y += 1.0

    def heading(self, text: str, *, needed_mm: float) -> None:
        """A heading with a line above it, kept with what follows."""
        lines = wrapped(text, INNER_MM, _HEADING, bold=True)
        height = len(lines) * line_mm(_HEADING)
        self._room(_GAP_MM + height + needed_mm)
        if self._y > MARGIN_MM + 9.5:
            self._y += 0.5 * _GAP_MM
            self._page.box(MARGIN_MM, self._y, INNER_MM, 0.2, facecolor=GRID, linewidth=0)
            self._y += 0.5 * _GAP_MM
        self._page.write(lines, MARGIN_MM, self._y, size=_HEADING, bold=True)
        self._y += height + 1.2

    def facts(self, facts: Sequence[tuple[str, str]], label_mm: float) -> None:
        """Labels and texts in two columns."""
        for label, text in facts:
            lines = wrapped(text, INNER_MM - label_mm, _SIZE)
            self._room(len(lines) * line_mm(_SIZE))
            self._page.write([label], MARGIN_MM, self._y, size=_SIZE, colour=MUTED)
            self._page.write(lines, MARGIN_MM + label_mm, self._y, size=_SIZE)
            self._y += max(1, len(lines)) * line_mm(_SIZE) + 0.4

    def warning(self, text: str) -> None:
        """A warning in a box of its own; a very long one goes on over the page."""
        lines = wrapped(f"Warning: {text}", INNER_MM - 5.0, _SIZE)
        fit = max(1, int((self._bottom - MARGIN_MM - 14.0) / line_mm(_SIZE)))
        for start in range(0, len(lines), fit):
            some = lines[start : start + fit]
            height = len(some) * line_mm(_SIZE) + 1.6
            self._room(height + 1.0)
            self._page.box(
                MARGIN_MM,
                self._y + 0.6,
                INNER_MM,
                height,
                facecolor=_WARN_PAGE,
                edgecolor=_WARN_LINE,
                linewidth=0.8,
            )
            self._page.write(some, MARGIN_MM + 2.5, self._y + 1.4, size=_SIZE, colour=_WARN_INK)
            self._y += height + 1.4

    def overview(self, overview: Overview) -> None:
        """The table of all findings, its head again on every page."""
        self.heading("All findings", needed_mm=15.0)
        self._row(overview.columns, overview.shares, MUTED)
        for row in overview.rows:
            before = self._page
            self._room(self._row_mm(row, overview.shares))
            if self._page is not before:
                self._row(overview.columns, overview.shares, MUTED)
            self._row(row, overview.shares, INK)

    def _cells(self, row: Sequence[str], shares: Sequence[float]) -> list[list[str]]:
        return [
            wrapped(cell, share * INNER_MM - 2.0, _SIZE)
            for cell, share in zip(row, shares, strict=True)
        ]

    def _row_mm(self, row: Sequence[str], shares: Sequence[float]) -> float:
        return max(len(cell) for cell in self._cells(row, shares)) * line_mm(_SIZE) + 1.2

    def _row(self, row: Sequence[str], shares: Sequence[float], colour: str) -> None:
        x = MARGIN_MM
        for cell, share in zip(self._cells(row, shares), shares, strict=True):
            self._page.write(cell, x, self._y, size=_SIZE, colour=colour)
            x += share * INNER_MM
        self._y += self._row_mm(row, shares)
        self._page.box(MARGIN_MM, self._y - 0.7, INNER_MM, 0.1, facecolor=GRID, linewidth=0)

    def finding(self, finding: SheetFinding) -> None:
        """Pictures and answer, together on a page."""
        meaning = wrapped(finding.meaning, _ANSWER_MM - 4.0, _SIZE)
        texts = [
            wrapped(text, INNER_MM - _ANSWER_MM - _LABEL_MM, _SIZE) for _, text in finding.facts
        ]
        left_mm = line_mm(19.0) + len(meaning) * line_mm(_SIZE)
        right_mm = sum(len(lines) * line_mm(_SIZE) + 0.4 for lines in texts)
        answer_mm = max(left_mm, right_mm)
        lines = wrapped(f"Warning: {finding.warning}", INNER_MM - 5.0, _SIZE)
        warning_mm = len(lines) * line_mm(_SIZE) + 3.0 if finding.warning else 0.0
        caption_mm = line_mm(_SMALL) + 1.5
        fixed = _VIEW_MM + caption_mm + answer_mm
        # A warning stays with its finding, unless it is so long that no page would do.
        self.heading(finding.heading, needed_mm=fixed + min(warning_mm, 60.0))
        for i, view in enumerate(finding.views):
            x = MARGIN_MM + i * (_VIEW_MM + _VIEW_GAP_MM)
            self._view(view, x)
            self._page.write([view.name], x, self._y + _VIEW_MM + 0.4, size=_SMALL, colour=MUTED)
        self._y += _VIEW_MM + caption_mm
        self._page.write([finding.probability], MARGIN_MM, self._y - 0.5, size=19.0, bold=True)
        self._page.write(meaning, MARGIN_MM, self._y + line_mm(19.0), size=_SIZE)
        y = self._y
        for (label, _), lines in zip(finding.facts, texts, strict=True):
            self._page.write([label], MARGIN_MM + _ANSWER_MM, y, size=_SIZE, colour=MUTED)
            self._page.write(lines, MARGIN_MM + _ANSWER_MM + _LABEL_MM, y, size=_SIZE)
            y += len(lines) * line_mm(_SIZE) + 0.4
        self._y += answer_mm + 1.0
        if finding.warning:
            self.warning(finding.warning)

    def _view(self, view: SheetView, x_mm: float) -> None:
        half = view.side_mm / 2
        draw_plane(
            self._page.axes(x_mm, self._y, _VIEW_MM, _VIEW_MM),
            view.grey,
            extent=(-half, half, -half, half),
            limits=(0, 255),
            letters=view.letters,
            free_mm=(view.free_mm, view.free_mm),
            saliency=view.saliency,
            interpolation="none",
        )
