"""docs/formats.md names every file, column and key that a run of phantom scans has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

# Where a table's columns are described; those of other tables stand anywhere on the page.
SECTIONS = {
    "folds.csv": "### folds.csv",
    "outer_scorings.csv": "### outer_scorings.csv",
    "predictions.csv": "### predictions.csv",
    "comparison.csv": "### comparison.csv",
    "history.csv": "### Units",
}
# Where the files of a run directory are described.
RUN = ("## The run directory", "## The patch store")
# What stands for any name in a path of the page: MODEL, HASH, K, SERIESUID ...
_ANY_NAME = re.compile(r"(?<![a-z])[A-Z][A-Z_]*(?![a-z])")
_UNIT = re.compile(r"units/[^/]+/fold-\d+/seed-\d+/")
_STORE = re.compile(r"store/[^/]+/")


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "formats.md").read_text(encoding="utf-8")


def names(text: str) -> set[str]:
    """Every word in backticks; several of them stand with commas between."""
    return {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.split(r"[,\s]+", code)}


def section(page: str, heading: str) -> str:
    start = page.index(f"\n{heading}\n") + 1
    depth = heading.count("#")
    end = re.compile(rf"^#{{1,{depth}}} ", re.MULTILINE).search(page, start + len(heading))
    return page[start : end.start() if end else None]


def is_named(file: str, page: str) -> bool:
    short = _STORE.sub("", _UNIT.sub("", file)).removeprefix("reference/")
    if short.startswith("figures/"):
        short = Path(short).stem
    for name in names("".join(section(page, heading) for heading in RUN)):
        if not re.search("[a-z]{2}", name):
            continue  # `MODEL` alone is no file
        pattern = "[^/]+".join(map(re.escape, _ANY_NAME.split(name))).replace(r"\*", "[^/]*")
        if re.fullmatch(pattern, short):
            return True
    return False


def test_every_file_of_a_run_is_named(small_run: Any, page: str) -> None:
    files = sorted(
        f.relative_to(small_run.path).as_posix() for f in small_run.path.rglob("*") if f.is_file()
    )
    assert len(files) > 30
    assert not [file for file in files if not is_named(file, page)]


def test_a_file_that_nobody_described_would_be_found(page: str) -> None:
    assert not is_named("surprise.csv", page)
    assert not is_named("units/m/fold-0/seed-0/surprise.json", page)
    assert not is_named("figures/surprise.svg", page)


def test_every_column_is_named(small_run: Any, page: str) -> None:
    missing = []
    tables = [
        f
        for ending in ("csv", "parquet")
        for f in small_run.path.rglob(f"*.{ending}")
        if f.name != "seriesuids.csv" and f.parent.name != "figures"
    ]
    for file in tables:
        known = names(section(page, SECTIONS[file.name]) if file.name in SECTIONS else page)
        read = pd.read_csv if file.suffix == ".csv" else pd.read_parquet
        missing += [f"{file.name}: {c}" for c in read(file).columns if c not in known]
    assert len(tables) >= 10
    assert not missing


@pytest.mark.parametrize(
    ("file", "heading", "below"),
    [
        ("metrics.json", "### metrics.json", ()),
        ("metrics.json", "### metrics.json", ("data",)),
        ("manifest.json", "### manifest.json", ()),
        ("manifest.json", "### manifest.json", ("stages", "train")),
        ("bundle.json", "## The bundle", ()),
        ("bundle.json", "## The bundle", ("training",)),
        ("units/*/fold-0/seed-*/unit.json", "### Units", ()),
        ("*store*/*/store.json", "## The patch store", ()),
    ],
)
def test_every_key_is_named(
    small_run: Any, page: str, file: str, heading: str, below: tuple[str, ...]
) -> None:
    found = next(iter(small_run.path.glob(file)))
    content = json.loads(found.read_text(encoding="utf-8"))
    for key in below:
        content = content[key]
    known = names(section(page, heading))
    # `stages.train` and `models.NAME` describe `stages` and `models`.
    known |= {name.split(".")[0] for name in known}
    assert [key for key in content if key not in known] == []


def test_every_key_of_a_model_is_named(small_run: Any, page: str) -> None:
    metrics = json.loads((small_run.path / "metrics.json").read_text(encoding="utf-8"))
    bundle = json.loads((small_run.path / "bundle.json").read_text(encoding="utf-8"))
    for content, heading in ((metrics, "### metrics.json"), (bundle, "## The bundle")):
        known = {name.removeprefix(".") for name in names(section(page, heading))}
        for model in content["models"].values():
            assert [key for key in model if key not in known] == []
