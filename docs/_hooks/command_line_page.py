"""The page of the command line, made from the command line itself."""

from __future__ import annotations

import re

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from nodulenet.cli.main import EPILOG, app

URI = "reference/command_line.md"
MARK = "<!-- command line -->"
_CODE = re.compile(r"(```.*?```|`[^`]*`)", re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_PAGE = re.compile(r"docs/([\w/]+\.md)")


def command_line() -> str:
    """Every verb with its arguments and options, as ``--help`` says them, in Markdown."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=command, ctx=typer.Context(command), name="nodulenet", title="Command line"
    )
    # The page has its own heading.
    text = text.partition("\n")[2].strip()
    # Said once for all verbs.
    before, _, after = text.partition(EPILOG)
    return _marked(before + EPILOG + after.replace(EPILOG, ""))


def _marked(text: str) -> str:
    """Options as code and pages as links, where the help has them as plain words."""
    parts = _CODE.split(text)
    # Every second part is code already.
    parts[::2] = [
        _PAGE.sub(r"[\1](../\1)", _OPTION.sub(lambda found: f"`{found[0]}`", part))
        for part in parts[::2]
    ]
    return "".join(parts)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    del config, files
    return markdown.replace(MARK, command_line()) if page.file.src_uri == URI else markdown
