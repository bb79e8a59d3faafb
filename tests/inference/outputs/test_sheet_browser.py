"""The finding sheet in a real browser without a network, on a phone, in the dark, on paper."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodulenet.ct import CTVolume
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.sheet_content import sheet_content
from nodulenet.inference.outputs.sheet_html import sheet_html

SIZES = """() => [...document.querySelectorAll("svg")].map(e => {
    const box = e.getBoundingClientRect();
    return [box.width, box.height];
})"""


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1200)])
def test_it_opens_offline_and_prints(
    browser: Any,
    make_answers: Callable[..., Answers],
    scan: CTVolume,
    tmp_path: Path,
    scheme: str,
    width: int,
) -> None:
    answers = make_answers(3, {"finding_id": ["x" * 80, "b", "c"]}, warnings=("thick slices",))
    file = tmp_path / "sheet.html"
    file.write_text(sheet_html(sheet_content(answers, scan)), encoding="utf-8")
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    context.set_offline(True)
    page = context.new_page()
    requests: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
    assert said == []
    for across, down in page.evaluate(SIZES):
        assert across > 60
        assert across == pytest.approx(down, abs=1)
    # A wide table scrolls in its own box, never the page.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.pdf(prefer_css_page_size=True)
    # Two findings a page, as in the PDF.
    assert len(re.findall(rb"/Type /Page\b", paper)) == 2
    context.close()
