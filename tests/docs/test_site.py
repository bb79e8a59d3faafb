"""The documentation site: its pages, its navigation, its notebooks, what a browser makes of it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

# Packages whose names others import; each name has a place on a page of the reference.
ROOMS = (
    "ct", "evaluation", "inference.outputs", "models", "phantom", "plots", "report", "transforms",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(repository: Path) -> dict[str, Any]:
    content = yaml.safe_load((repository / "mkdocs.yml").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def entries(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list):
        for entry in nav:
            yield from entries(entry)
    else:
        for entry in nav.values():
            yield from entries(entry)


def test_every_page_is_in_the_navigation_and_every_entry_has_a_page(
    settings: dict[str, Any], repository: Path
) -> None:
    docs = repository / "docs"
    pages = {p.relative_to(docs).as_posix() for p in docs.rglob("*.md")}
    made_by_hooks = {"changelog.md", "contributing.md"}
    listed = list(entries(settings["nav"]))
    assert sorted(listed) == sorted(set(listed))
    assert set(listed) == pages | made_by_hooks


def test_nothing_is_fetched_from_elsewhere(settings: dict[str, Any], repository: Path) -> None:
    assert settings["theme"]["font"] is False
    assert "offline" in settings["plugins"]
    assert "repo_url" not in settings
    own = settings["extra_css"] + settings["extra"]["polyfills"]
    own += settings.get("extra_javascript", [])
    assert all((repository / "docs" / file).is_file() for file in own)


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_in_the_reference(room: str, repository: Path) -> None:
    # Of MONAI's transforms the names are read without importing MONAI.
    if room == "transforms":
        source = (repository / "nodulenet" / room / "__init__.py").read_text(encoding="utf-8")
        public = [
            line.strip(' ",') for line in source.split("__all__ = [")[1].split("]")[0].split()
        ]
    else:
        public = importlib.import_module(f"nodulenet.{room}").__all__
    pages = "".join(
        p.read_text(encoding="utf-8") for p in (repository / "docs" / "reference").glob("*.md")
    )
    lines = {line.rsplit(".", 1)[-1] for line in pages.splitlines() if line.startswith("::: ")}
    assert [name for name in public if name not in lines] == []


@pytest.fixture(scope="module")
def notebook_pages(repository: Path) -> ModuleType:
    pytest.importorskip("mkdocs", reason="the extra [docs] is not installed")
    file = repository / "docs" / "_hooks" / "notebook_pages.py"
    spec = importlib.util.spec_from_file_location("notebook_pages", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["notebook_pages"] = module
    spec.loader.exec_module(module)
    return module


def write_notebook(file: Path, title: str, *, executed: bool) -> None:
    from nbformat import v4, write

    code = v4.new_code_cell("1 + 1")
    if executed:
        code.execution_count = 1
        code.outputs = [
            v4.new_output("display_data", data={"image/png": "aGVsbG8="}),
            v4.new_output("stream", name="stdout", text="\x1b[31m2\x1b[0m\n"),
        ]
    cells = [v4.new_markdown_cell(f"# {title}\n\nSee [files](../docs/formats.md)."), code]
    file.parent.mkdir(parents=True, exist_ok=True)
    write(v4.new_notebook(cells=cells), file)


def test_an_executed_notebook_becomes_a_page_with_pictures_and_another_says_it_was_not_run(
    tmp_path: Path, notebook_pages: ModuleType
) -> None:
    write_notebook(tmp_path / "notebooks" / "01_a.ipynb", "First", executed=False)
    write_notebook(tmp_path / "build" / "notebooks" / "01_a.ipynb", "First", executed=True)
    write_notebook(tmp_path / "notebooks" / "02_b.ipynb", "Second", executed=False)
    first, second = notebook_pages.notebook_pages(tmp_path)

    assert (first.title, first.executed) == ("First", True)
    ((picture, data),) = first.pictures.items()
    assert data == b"hello"
    assert f"![Figure 1 of this notebook]({picture})" in first.text
    assert "(../formats.md)" in first.text
    assert "\x1b" not in first.text
    assert "Not executed" not in first.text

    assert (second.title, second.executed) == ("Second", False)
    assert "Not executed" in second.text
    assert notebook_pages.list_of([first, second]).splitlines() == [
        "- [First](01_a.md)",
        "- [Second](02_b.md) (not executed)",
    ]
    assert "No notebook was found" in notebook_pages.list_of([])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The built site; a warning ends the build."""
    pytest.importorskip("material", reason="the extra [docs] is not installed")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=repository,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.long
def test_every_page_opens_from_a_folder_asks_for_nothing_and_says_nothing(
    browser: Any, site: Path
) -> None:
    requests: list[str] = []
    said: list[str] = []
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.set_offline(True)
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    files = sorted(site.rglob("*.html"))
    assert len(files) > 40
    wide = []
    for file in files:
        page.goto(file.as_uri())
        page.wait_for_timeout(100)  # for what scripts do once the page is there
        # Nothing is wider than a phone: tables and code scroll by themselves.
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(file.name)
    context.close()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert said == []
    assert wide == []


@pytest.mark.long
def test_search_and_the_dark_look_work_from_a_folder(browser: Any, site: Path) -> None:
    requests: list[str] = []
    said: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.set_offline(True)
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((site / "reference" / "ct.html").as_uri())
    page.locator("input.md-search__input").fill("conformal")
    page.locator(".md-search-result__item").first.wait_for()
    titles = page.locator(".md-search-result__item h1").all_inner_texts()
    assert "Methods" in titles
    page.keyboard.press("Escape")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("label[title=Dark]").click()
    page.wait_for_function("document.body.dataset.mdColorScheme === 'slate'")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    context.close()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert said == []
