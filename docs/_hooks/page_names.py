"""Links that show a file's name show what the navigation calls the page instead.

In the repository ``[points.md](points.md)`` says where to look; on the site there is no such file.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from posixpath import normpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

_LINK = re.compile(r"\[[\w./-]+\.md\]\((?P<file>[\w./-]+\.md)(?P<rest>#[^)]*)?\)")
_titles: dict[str, str] = {}


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Remember what each page is called."""
    del config, files
    _titles.clear()
    _titles.update({page.file.src_uri: str(page.title) for page in nav.pages if page.title})
    return nav


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page's text with names for files."""
    del config, files
    folder = PurePosixPath(page.file.src_uri).parent

    def named(found: re.Match[str]) -> str:
        target = normpath(str(folder / found["file"]))
        title = _titles.get(target)
        return f"[{title}]({found['file']}{found['rest'] or ''})" if title else found[0]

    return _LINK.sub(named, markdown)
