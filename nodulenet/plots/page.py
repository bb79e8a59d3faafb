"""The colours of HTML pages, as CSS variables: light, dark, and black on white for paper."""

from __future__ import annotations

PAGE_COLOURS = """\
:root {
  color-scheme: light dark;
  --page: #f6f8fa; --card: #ffffff; --ink: #1f2328; --muted: #59636e; --grid: #d1d9e0;
  --line: #d8dee4; --accent: #0a5a9c; --soft: #eef4fa;
  --bad-ink: #86181d; --bad-line: #cf222e; --bad-page: #ffebe9;
  --warn-ink: #6a4a00; --warn-line: #d4a72c; --warn-page: #fff8e1;
  --good-ink: #116329;
  --series-1: #0072b2; --series-2: #d55e00; --series-3: #00805d;
  --series-4: #b5558b; --series-5: #b87a00; --series-6: #2d8fc4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0d1117; --card: #161b22; --ink: #e6edf3; --muted: #9da7b3; --grid: #30363d;
    --line: #30363d; --accent: #79b8ff; --soft: #1b2733;
    --bad-ink: #ffc9c5; --bad-line: #f85149; --bad-page: #3a1417;
    --warn-ink: #f2dca0; --warn-line: #bb8009; --warn-page: #2e2510;
    --good-ink: #7ee2a0;
    --series-1: #58a6e8; --series-2: #ff8c42; --series-3: #3ccb98;
    --series-4: #e29ac1; --series-5: #f0b93b; --series-6: #8bd0f5;
  }
}"""
"""On screens."""

PAPER_COLOURS = """\
:root {
    color-scheme: light;
    --page: #fff; --card: #fff; --ink: #000; --muted: #444; --grid: #ccc; --line: #bbb;
    --accent: #000; --soft: #f2f2f2; --bad-ink: #86181d; --bad-page: #fff; --warn-ink: #000;
    --warn-page: #fff; --good-ink: #116329;
    --series-1: #0072b2; --series-2: #d55e00; --series-3: #00805d;
    --series-4: #b5558b; --series-5: #b87a00; --series-6: #2d8fc4;
  }"""
"""To stand inside ``@media print``."""
