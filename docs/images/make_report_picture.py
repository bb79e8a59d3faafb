"""Makes ``report.png``: two parts of the report of a phantom run, on the light background.

``python docs/images/make_report_picture.py runs/demo`` after ``make demo``. Needs playwright (extra
``dev``) and a Chromium on the PATH or at ``$NODULENET_CHROMIUM``.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from nodulenet.atomic import atomic_path

PARTS = ("summary", "discrimination")
WIDTH, HEIGHT, GAP = 1000, 940, 12  # of a part, and between them
COLOURS = 64  # of text and lines nobody misses more, and the file is a third of the size
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def picture(report: Path) -> Image.Image:
    """The upper ends of the two parts, side by side."""
    chromium = os.environ.get("NODULENET_CHROMIUM") or next(
        found for found in map(shutil.which, BROWSERS) if found
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        shots = [page.locator(f"section#{part}").screenshot() for part in PARTS]
        browser.close()
    parts = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    height = min(HEIGHT, *(part.height for part in parts))
    whole = Image.new("RGB", (sum(p.width for p in parts) + GAP, height), "white")
    left = 0
    for part in parts:
        whole.paste(part.crop((0, 0, part.width, height)), (left, 0))
        left += part.width + GAP
    return whole.quantize(COLOURS)


if __name__ == "__main__":
    with atomic_path(Path(__file__).with_name("report.png")) as temporary:
        picture(Path(sys.argv[1]) / "report.html").save(temporary, "PNG", optimize=True)
