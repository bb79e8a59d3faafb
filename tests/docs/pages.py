"""The code blocks of a page of documentation, and what the comments before them say.

A comment is an HTML comment on a line of its own directly before the block, which readers of the
page do not see:

``<!-- not run: REASON -->``  is parsed only (a GPU, a container, a cluster, a download ...)
``<!-- long -->``             runs with ``make test-all`` only
``<!-- exit: 3 -->``          the block's last command ends with this code; 0 without it
``<!-- file: NAME -->``       is written to this file of the workspace instead of being run
``<!-- start: empty -->``     at the top of a page: its long blocks begin in an empty folder
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

RUNNABLE = ("sh", "python")
LANGUAGES = (*RUNNABLE, "text", "yaml", "json", "toml", "csv", "batch", "ini", "html", "mermaid")
_COMMENT = re.compile(r"<!--\s*(not run|long|exit|file|start)\s*(?::\s*(.*?))?\s*-->", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=.*")


@dataclass(frozen=True)
class Command:
    """One command line of a block, as a shell takes it apart."""

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    content: str
    notes: dict[str, str]

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in RUNNABLE and not {"not run", "file"} & self.notes.keys()

    @property
    def is_long(self) -> bool:
        return "long" in self.notes

    def commands(self) -> Iterator[Command]:
        """The commands of a shell block; continued lines are one."""
        for line in self.content.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            environment = []
            while words and _ASSIGNMENT.fullmatch(words[0]):
                name, _, value = words.pop(0).partition("=")
                environment.append((name, value))
            if words:
                yield Command(tuple(words), tuple(environment))


@dataclass(frozen=True)
class Page:
    """A page: its blocks in order, and its code spans with their lines.

    ``indented`` are the lines at which a command stands in an indented block, where no test
    would look for it.
    """

    path: Path
    blocks: tuple[Block, ...]
    spans: tuple[tuple[int, str], ...]
    indented: tuple[int, ...]
    starts_empty: bool

    @property
    def name(self) -> str:
        return str(self.path)


def read_page(root: Path, path: Path) -> Page:
    """The page ``path`` (relative to ``root``)."""
    tokens = MarkdownIt().enable("table").parse((root / path).read_text(encoding="utf-8"))
    blocks, spans, indented = [], [], []
    notes: dict[str, str] = {}
    starts_empty = False
    for token in tokens:
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            found = dict(_COMMENT.findall(token.content))
            starts_empty |= found.pop("start", None) == "empty"
            notes |= found
            continue
        if token.type == "fence":
            blocks.append(Block(path, line, token.info.strip(), token.content, notes))
        elif token.type == "code_block" and re.search(
            r"```|^\W*(nodulenet|make) ", token.content, re.M
        ):
            indented.append(line)
        for child in token.children or ():
            if child.type == "code_inline":
                spans.append((line, child.content.replace("\n", " ")))
        if token.nesting != 1 or token.type == "paragraph_open":  # a list may open in between
            notes = {}
    return Page(path, tuple(blocks), tuple(spans), tuple(indented), starts_empty)


def all_pages(root: Path) -> list[Page]:
    """Every page whose commands readers are to type."""
    paths = [root / "README.md", root / "CONTRIBUTING.md", root / "notebooks" / "README.md"]
    paths += sorted((root / "docs").rglob("*.md"))
    return [read_page(root, path.relative_to(root)) for path in paths if path.is_file()]
