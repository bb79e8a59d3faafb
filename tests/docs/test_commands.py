"""README and documentation: what they tell readers to type runs, and every option they name exists.

Shell and Python blocks run in a workspace of phantom data unless a comment before the block says
why not; ``pages.py`` has the comments. Lines that are not run are parsed by the real application.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodulenet.config.load import load_config
from tests.docs.command_line import complaint
from tests.docs.pages import LANGUAGES, Block, Command, Page, all_pages
from tests.docs.workspace import Workspace, prepare_workspace

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = all_pages(REPOSITORY)
# Data that a shipped configuration wants; where they are is of no matter to its validation.
ROOTS = ("LUNA16_ROOT", "LIDC_2D_ROOT", "LIDC_3D_ROOT")


def having(pages: list[Page], *, long: bool) -> list[Any]:
    """Pages with a block that runs, as parameters; ``long``: pages with one that takes long."""
    chosen = [
        page
        for page in pages
        if any(b.runs or "file" in b.notes for b in page.blocks)
        and (not long or any(b.runs and b.is_long for b in page.blocks))
    ]
    return [pytest.param(page, id=page.name) for page in chosen]


def make_targets() -> set[str]:
    """The targets of the Makefile."""
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", text, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def workspace(small_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return prepare_workspace(tmp_path_factory.mktemp("docs"), small_run.path)


def test_every_block_says_what_it_is_and_why_it_is_not_run() -> None:
    wrong = []
    for page in PAGES:
        wrong += [
            f"{page.path}:{line}: a command in an indented block; use a fence"
            for line in page.indented
        ]
        for block in page.blocks:
            if block.language not in LANGUAGES:
                wrong.append(f"{block.where}: the language is {block.language!r}")
            if block.notes.get("not run") == "":
                wrong.append(f"{block.where}: `not run` needs its reason")
            if block.language != "sh" and re.search(r"^\$? ?nodulenet ", block.content, re.M):
                wrong.append(f"{block.where}: commands stand in blocks of the language sh")
    assert not wrong, "\n".join(wrong)


def test_every_command_is_one_that_the_program_knows() -> None:
    wrong = []
    targets = make_targets()
    for page in PAGES:
        found = [(b.line, c.words, True) for b in page.blocks for c in commands_in(b)]
        found += [(line, words_of(span), False) for line, span in page.spans]
        for line, words, whole in found:
            said = None
            if words[:1] == ("nodulenet",):
                said = complaint(words[1:], whole=whole)
            elif words[:1] == ("make",) and len(words) > 1 and words[1].islower():
                said = None if words[1] in targets else f"no target {words[1]!r}"
            if said:
                wrong.append(f"{page.path}:{line}: {' '.join(words)}: {said}")
    assert not wrong, "\n".join(wrong)


def commands_in(block: Block) -> list[Command]:
    return list(block.commands()) if block.language in ("sh", "batch") else []


def words_of(span: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(span))
    except ValueError:  # a quote of something else
        return ()


def test_a_command_that_is_gone_would_be_found() -> None:
    assert complaint(["classify", "new/dicom", "--nope"], whole=True)
    assert complaint(["clasify"], whole=False)
    assert complaint(["findings", "lidc"], whole=True) == "xml is missing"
    assert complaint(["findings", "lidc"], whole=False) is None
    assert complaint(["classify", "new/dicom", "--space", "lsp"], whole=True)
    assert complaint(["train", "demo", "--jobs", "many"], whole=True)
    assert complaint(["train", "CONFIG", "--jobs", "N"], whole=False) is None
    assert complaint(["info", "a", "b"], whole=True) == "too many words: ['b']"
    assert complaint(["--version"], whole=True) is None


def test_configurations_that_are_shown_are_valid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for root in ROOTS:
        monkeypatch.setenv(root, str(tmp_path))
    seen = 0
    for block in (b for page in PAGES for b in page.blocks if b.language == "yaml"):
        tree = yaml.safe_load(block.content)
        if not isinstance(tree, dict) or not {"name", "source"} <= tree.keys():
            continue
        seen += 1
        if "patch" not in tree:  # of a validation: the bundle brings the rest
            tree |= {"patch": {"form": "2d", "size": [32, 32], "spacing_mm": 1.0}}
            tree |= {"models": ["squeezenodule_v2"]}
        file = tmp_path / f"{seen}.yaml"
        file.write_text(yaml.safe_dump(tree), encoding="utf-8")
        load_config(file)
    assert seen >= 3


@pytest.mark.parametrize("page", having(PAGES, long=False))
def test_what_a_page_tells_to_type_runs(
    page: Page, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page(page, workspace, monkeypatch, long=False)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("page", having(PAGES, long=True))
def test_what_takes_long_runs_too(
    page: Page, small_run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not page.starts_empty:
        prepare_workspace(tmp_path, small_run.path)
    run_page(page, Workspace(tmp_path), monkeypatch, long=True)


def run_page(
    page: Page, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, *, long: bool
) -> None:
    """Run the blocks of a page in order; those that take long only where ``long``."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in page.blocks:
        if "file" in block.notes:
            workspace.write(block.notes["file"], block.content)
        elif block.runs and (long or not block.is_long):
            if block.language == "python":
                workspace.execute(block, names, monkeypatch)
            else:
                run_commands(block, workspace, monkeypatch, apart=block.is_long)


def run_commands(
    block: Block, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, *, apart: bool
) -> None:
    commands = list(block.commands())
    for number, command in enumerate(commands, 1):
        expected = int(block.notes.get("exit", 0)) if number == len(commands) else 0
        code = workspace.run(command, monkeypatch, apart=apart)
        assert code == expected, f"{block.where}: {' '.join(command.words)}: exit code {code}"
