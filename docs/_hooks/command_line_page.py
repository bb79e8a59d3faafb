"""The page of the command line, made from the command line itself."""

from __future__ import annotations

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from nodulenet.cli.main import EPILOG, app

URI = "reference/command_line.md"


def command_line() -> str:
    """Every verb with its arguments and options, as ``--help`` says them, in Markdown."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=command, ctx=typer.Context(command), name="nodulenet", title="Command line"
    )
    # Said once for all verbs.
    before, _, after = text.partition(EPILOG)
    return before + EPILOG + after.replace(EPILOG, "")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    files.append(File.generated(config, URI, content=command_line()))
    return files
