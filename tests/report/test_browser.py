"""The report in a real browser without a network: it asks for nothing and hides nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodulenet.report import ReportContent, write_report

SIZES = """() => [...document.querySelectorAll("figure svg, figure img")].map(e => {
    const box = e.getBoundingClientRect();
    return [e.getAttribute("aria-label") || e.alt, box.width, box.height];
})"""


@pytest.fixture(scope="module")
def report(
    tmp_path_factory: pytest.TempPathFactory, make_content: Callable[..., ReportContent]
) -> Path:
    return write_report(tmp_path_factory.mktemp("browser") / "report.html", make_content())


class Visit:
    """The report opened offline, and all that the browser said and asked for."""

    def __init__(self, browser: Any, report: Path, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.context.set_offline(True)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(report.as_uri())

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"color_scheme": "dark"},
        {"viewport": {"width": 390, "height": 844}},
        {"java_script_enabled": False},
    ],
    ids=["desktop", "dark", "phone", "no scripts"],
)
def test_it_opens_offline_and_every_figure_has_a_size(
    browser: Any, report: Path, context: dict[str, Any]
) -> None:
    with Visit(browser, report, **context) as visit:
        outside = [url for url in visit.requests if not url.startswith("data:")]
        assert outside == [report.as_uri()]
        assert visit.said == []
        sizes = visit.page.evaluate(SIZES)
        assert len(sizes) > 10
        for name, width, height in sizes:
            assert width > 60, name
            assert height > 40, name
        # Wide tables scroll in their own boxes, never the page.
        body, window = visit.page.evaluate(
            "() => [document.documentElement.scrollWidth, window.innerWidth]"
        )
        assert body <= window
        hidden = visit.page.evaluate(
            "() => [...document.querySelectorAll('main section')]"
            ".filter(e => e.getBoundingClientRect().height < 20).map(e => e.id)"
        )
        assert hidden == []


def test_series_can_be_switched_off_and_curves_read(browser: Any, report: Path) -> None:
    with Visit(browser, report) as visit:
        figure = visit.page.locator("figure:has(svg[aria-label^='ROC'])")
        curve = figure.locator("[id*='-series-0-line']")
        assert curve.is_visible()
        figure.locator("input[type=checkbox]").first.uncheck()
        assert not curve.is_visible()
        figure.locator("input[type=checkbox]").first.check()
        assert curve.is_visible()
        figure.scroll_into_view_if_needed()
        x, y, text = figure.evaluate(
            """figure => {
                const points = JSON.parse(figure.dataset.curves).series[0].points;
                const [x, y, text] = points[Math.floor(points.length / 2)];
                const at = new DOMPoint(x, y)
                    .matrixTransform(figure.querySelector("svg").getScreenCTM());
                return [at.x, at.y, text];
            }"""
        )
        visit.page.mouse.move(x, y)
        read = figure.locator(".readout").inner_text()
        assert read.endswith(text)
        assert re.search(r"sensitivity \d+\.\d %, specificity \d+\.\d %, threshold 0\.\d", read)
        # The point lies where the curve is drawn.
        box = figure.locator("[id*='-series-0-line']").bounding_box()
        assert box["x"] - 2 <= x <= box["x"] + box["width"] + 2
        assert box["y"] - 2 <= y <= box["y"] + box["height"] + 2
        assert visit.said == []


def test_without_scripts_there_are_no_dead_switches(browser: Any, report: Path) -> None:
    with Visit(browser, report, java_script_enabled=False) as visit:
        assert visit.page.locator("input, .readout").count() == 0


def test_another_script_would_not_run(browser: Any, report: Path, tmp_path: Path) -> None:
    text = report.read_text(encoding="utf-8")
    injected = tmp_path / "injected.html"
    injected.write_text(
        text.replace("</main>", "<script>document.title = 'changed'</script></main>"),
        encoding="utf-8",
    )
    with Visit(browser, injected) as visit:
        assert visit.page.title() == "A report"
        assert any("Content Security Policy" in said for said in visit.said)


def test_text_can_be_read_against_its_ground(browser: Any, report: Path) -> None:
    """WCAG 2.2 AA: a contrast of 4.5 for text."""
    for scheme in ("light", "dark"):
        with Visit(browser, report, color_scheme=scheme) as visit:
            colours = visit.page.evaluate(
                """() => {
                    const seen = (value) => {
                        const box = document.createElement("i");
                        box.style.color = value;
                        document.body.append(box);
                        const found = getComputedStyle(box).color.match(/[\\d.]+/g).map(Number);
                        box.remove();
                        return found.slice(0, 3);
                    };
                    const root = getComputedStyle(document.documentElement);
                    const named = (name) => seen(root.getPropertyValue(name));
                    return Object.fromEntries(["--card", "--page", "--soft", "--ink", "--muted",
                        "--accent"].map(name => [name, named(name)]));
                }"""
            )
        for ground in ("--card", "--page", "--soft"):
            for text in ("--ink", "--muted", "--accent"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (scheme, text, ground)


def test_it_prints(browser: Any, report: Path) -> None:
    with Visit(browser, report) as visit:
        pdf = visit.page.pdf(format="A4", print_background=False)
        assert pdf.startswith(b"%PDF")
        assert len(pdf) > 50_000  # the figures are in it
        visit.page.emulate_media(media="print")
        assert not visit.page.locator("nav").is_visible()
        assert visit.page.locator("fieldset.switches").first.is_hidden()


def contrast(first: list[float], second: list[float]) -> float:
    def luminance(colour: list[float]) -> float:
        parts = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
