"""Matplotlib's SVG made fit to stand inside a page, light or dark."""

from __future__ import annotations

import re

from markupsafe import Markup

from nodulenet.plots.style import GRID, INK, MUTED, SERIES

# The page defines these colours twice, for light and for dark.
_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    "#ffffff": "var(--card)",  # hollow markers
} | {colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)}
_COLOUR = re.compile("|".join(map(re.escape, _COLOURS)), re.IGNORECASE)
_STYLE = re.compile(r'style="[^"]*"')
_OPENING = re.compile(r"<svg[^>]*>")
_VIEW_BOX = re.compile(r'viewBox="([^"]*)"')


def inline_svg(text: str, *, name: str, description: str) -> Markup:
    """A figure's SVG file as an ``<svg>`` element for an HTML page.

    Identifiers get the figure's name as a prefix, so that several figures can share a page;
    metadata, comments and the white ground go; colours follow the page.

    Args:
        text: SVG as Matplotlib writes it.
        name: Letters, digits and hyphens, unique on the page.
        description: What the figure shows, for those who cannot see it.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace("fill: #ffffff", "fill: none", 1)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = _STYLE.sub(lambda m: _COLOUR.sub(lambda c: _COLOURS[c.group().lower()], m.group()), text)
    view = _VIEW_BOX.search(text)
    size = [float(number) for number in view.group(1).split()] if view else [0, 0, 300, 200]
    opening = Markup(
        '<svg viewBox="{}" role="img" aria-label="{}" style="max-width:{:.0f}px" '
        'preserveAspectRatio="xMidYMid meet">'
    ).format(" ".join(f"{n:g}" for n in size), description, size[2] * 1.5)
    # A figure's text was escaped by Matplotlib, the description by the line above.
    return Markup(_OPENING.sub(lambda _: str(opening), text, count=1))
