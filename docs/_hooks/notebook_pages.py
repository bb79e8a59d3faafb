"""Executed notebooks as pages: ``build/notebooks/*.ipynb``, written by ``make notebooks``.

Nothing that is generated is committed: pages and pictures are made while the site is built. A
notebook without an executed copy is shown as it is in ``notebooks/``, and its page says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter
from traitlets.config import Config

SOURCES = Path("notebooks")
EXECUTED = Path("build") / "notebooks"
INDEX = "notebooks/index.md"
MARK = "<!-- notebooks -->"
NOT_EXECUTED = (
    '!!! warning "Not executed"\n'
    "    This page was made from the notebook's source: no cell was run, and there are no results."
    " `make notebooks` runs it.\n\n"
)
_PANDAS_STYLE = re.compile(r"<style scoped>.*?</style>\s*", re.DOTALL)
_PANDAS_TABLE = re.compile(r'<table border="1" class="dataframe">')
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_PICTURE = re.compile(r"!\[(?:png|svg|jpeg|jpg)\](\([^)\n]+\))")
_HEADING = re.compile(r"^# +(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class NotebookPage:
    """A notebook as Markdown with its pictures.

    Attributes:
        name: Of the file, without its ending.
        title: Its first heading.
        executed: Whether every cell with code was run.
        text: Markdown.
        pictures: Path beside the page -> bytes.
    """

    name: str
    title: str
    executed: bool
    text: str
    pictures: dict[str, bytes]

    @property
    def uri(self) -> str:
        return f"notebooks/{self.name}.md"


# Of the build that is going on.
_pages: list[NotebookPage] = []


def notebook_pages(root: Path) -> list[NotebookPage]:
    """A page for every notebook of the repository at ``root``: their names begin with numbers."""
    found: dict[str, Path] = {}
    # The later ones win: the source in text, the notebook without results, the executed copy.
    for folder, ending in ((SOURCES, "py"), (SOURCES, "ipynb"), (EXECUTED, "ipynb")):
        found |= {path.stem: path for path in (root / folder).glob(f"[0-9]*.{ending}")}
    for name, copy in list(found.items()):
        source = root / SOURCES / f"{name}.ipynb"
        if copy.parent == root / EXECUTED and source.is_file() and not _is_copy(copy, source):
            found[name] = source
    return [page_of(found[name]) for name in sorted(found)]


def _is_copy(executed: Path, source: Path) -> bool:
    """Whether it was made from the notebook as it stands, to its end."""

    def code(path: Path) -> list[Any]:
        cells = nbformat.read(path, as_version=4).cells
        return [c for c in cells if "injected-parameters" not in c.metadata.get("tags", [])]

    done = code(executed)
    failed = any(o.output_type == "error" for cell in done for o in cell.get("outputs", []))
    return not failed and [c.source for c in done] == [c.source for c in code(source)]


def page_of(path: Path) -> NotebookPage:
    """One notebook, whatever it holds, as a page."""
    if path.suffix == ".py":
        import jupytext

        notebook = jupytext.read(path)
    else:
        notebook = nbformat.read(path, as_version=4)
    # Known of executed ones alone; without it code has no colours.
    notebook.metadata.setdefault("language_info", {"name": "python"})
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    executed = bool(code) and all(cell.execution_count is not None for cell in code)
    settings = Config()
    settings.MarkdownExporter.exclude_input_prompt = True
    body, resources = MarkdownExporter(config=settings).from_notebook_node(
        notebook, resources={"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    )
    heading = _HEADING.search(body)
    title = heading[1].strip() if heading else path.stem
    return NotebookPage(
        name=path.stem,
        title=title,
        executed=executed,
        text=_readable(
            body,
            heading.end() if heading else 0,
            "" if executed else NOT_EXECUTED,
            _widths(notebook),
        ),
        pictures={name: bytes(data) for name, data in resources.get("outputs", {}).items()},
    )


def _widths(notebook: Any) -> list[int | None]:
    """Of its pictures, in the order of the page: pixels of a page where the notebook names them.

    Pictures for screens with small pixels have twice as many as they are wide.
    """
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [
        output.get("metadata", {}).get(kind, {}).get("width")
        for output in outputs
        for kind in ("image/svg+xml", "image/png", "image/jpeg")
        if kind in output.get("data", {})
    ]


def _readable(body: str, after_heading: int, note: str, widths: list[int | None]) -> str:
    body = f"{body[:after_heading]}\n\n{note}{body[after_heading:].lstrip()}"
    # The site has its own look of tables, which these would not get.
    body = _PANDAS_TABLE.sub("<table>", _PANDAS_STYLE.sub("", body))
    body = _ANSI.sub("", body)
    count = 0

    def numbered(found: re.Match[str]) -> str:
        nonlocal count
        width = widths[count] if count < len(widths) else None
        count += 1
        size = "" if width is None else f'{{ width="{width}" }}'
        return f"![Figure {count} of this notebook]{found[1]}{size}"

    # Notebooks lie beside docs/ in the repository and in a folder of it on the site.
    return _PICTURE.sub(numbered, body).replace("](../docs/", "](../")


def list_of(pages: list[NotebookPage]) -> str:
    """The notebooks as a list, which says of those that were not executed that they were not."""
    if not pages:
        return "**No notebook was found when this site was built.**"
    return "\n".join(
        f"- [{page.title}]({page.name}.md)" + ("" if page.executed else " (not executed)")
        for page in pages
    )


def on_config(config: MkDocsConfig) -> None:
    """Puts a line for each notebook below the entry of the list."""
    _pages[:] = notebook_pages(Path(config.docs_dir).parent)
    if config.nav is not None:
        config.nav = _with_pages(config.nav, [INDEX, *(page.uri for page in _pages)])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages and their pictures."""
    for page in _pages:
        files.append(File.generated(config, page.uri, content=page.text))
        for name, data in page.pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the list into its page."""
    del config, files
    return markdown.replace(MARK, list_of(_pages)) if page.file.src_uri == INDEX else markdown


def _with_pages(nav: Any, uris: list[str]) -> Any:
    """The tree of the navigation, with ``uris`` in place of the list's own address."""
    if isinstance(nav, list):
        return [_with_pages(entry, uris) for entry in nav]
    if isinstance(nav, dict):
        return {name: _with_pages(entry, uris) for name, entry in nav.items()}
    return uris if nav == INDEX else nav
