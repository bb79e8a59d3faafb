"""Every notebook runs from its top without an exception or a warning, and git holds no outputs."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from nodulenet.training.run import Run

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))

# What makes them small; `out` is set for all, and `run` or `bundle` for those that look at a run.
SMALL: dict[str, dict[str, Any]] = {
    "01_first_hour": {"scans": 2},
    "04_compare_models": {"bootstraps": 200},
    "05_look_at_errors": {"count": 4, "method": "grad-cam"},
    "06_your_own_scans": {"most": 1},
}
OF_A_RUN = {
    "01_first_hour": "run",
    "04_compare_models": "run",
    "05_look_at_errors": "run",
    "06_your_own_scans": "bundle",
}


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"notebooks_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


execute = module("execute")


def pictures(notebook: Path) -> int:
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    kinds = {"image/png", "image/svg+xml"}
    return sum(bool(kinds & set(output.get("data", {}))) for output in outputs)


@pytest.mark.parametrize(
    "notebook", [n for n in NOTEBOOKS if n.stem not in OF_A_RUN], ids=lambda n: n.stem
)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    given = {"out": "figures", **SMALL.get(notebook.stem, {})}
    made = execute.execute(notebook, tmp_path / "build", given, cwd=tmp_path)
    assert pictures(made) > 0
    assert len(list((tmp_path / "figures").rglob("*.svg"))) > 0


@pytest.mark.long
def test_the_first_hour_trains(tmp_path: Path) -> None:
    given = {"out": "figures", "scans": 12, "epochs": 1}
    made = execute.execute(FOLDER / "01_first_hour.ipynb", tmp_path / "b", given, cwd=tmp_path)
    assert pictures(made) > 0
    assert (tmp_path / "figures" / "run" / "report.html").is_file()


@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_notebook_runs_on_a_run(name: str, small_run: Run, tmp_path: Path) -> None:
    given = {"out": "figures", OF_A_RUN[name]: str(small_run.path), **SMALL.get(name, {})}
    notebook = FOLDER / f"{name}.ipynb"
    made = execute.execute(notebook, tmp_path / "build", given, cwd=tmp_path)
    assert pictures(made) > 0
    assert len(list((tmp_path / "figures").rglob("*.svg"))) > 0
    if name == "05_look_at_errors":  # the browser's picture stands there without its widget
        assert "widget-view" not in made.read_text(encoding="utf-8")


def test_what_git_holds_is_what_the_sources_give() -> None:
    pair = module("pair")
    assert [path.stem for path in pair.sources()] == [path.stem for path in NOTEBOOKS]
    for source in pair.sources():
        target = source.with_suffix(".ipynb")
        text = target.read_text(encoding="utf-8")
        assert text == pair.notebook_of(source), f"{target.name}: run python notebooks/pair.py"
        cells = nbformat.reads(text, as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code)
        assert cells[0].cell_type == "markdown"
        assert cells[0].source.startswith("# ")
        assert code[0].metadata.get("tags") == ["parameters"]
        # Papermill reads no name and no help from a line with two of them.
        assert all(line.count("=") <= 1 for line in code[0].source.splitlines())
        for line in ast.parse(code[0].source).body:
            assert isinstance(line, ast.Assign)
            ast.literal_eval(line.value)  # plain values: papermill can replace them
        assert "print(" in code[1].source
        private = [
            name.name
            for cell in code
            for line in ast.walk(ast.parse(_without_magics(cell.source)))
            if isinstance(line, ast.ImportFrom)
            for name in line.names
            if name.name.startswith("_") or "._" in (line.module or "")
        ]
        assert private == []


@pytest.mark.parametrize(
    ("last_cell", "said"),
    [
        ("import math\nmath.sqrt(-1)", r"planted\.ipynb, cell \[3\]: ValueError: .*"),
        (
            "import warnings\nfrom nodulenet.errors import NoduleNetWarning\n"
            "warnings.warn('planted', NoduleNetWarning)",
            r"planted\.ipynb, cell \[3\]: NoduleNetWarning: planted",
        ),
    ],
    ids=["exception", "warning"],
)
def test_a_planted_fault_fails(tmp_path: Path, last_cell: str, said: str) -> None:
    cells = [nbformat.v4.new_code_cell(text) for text in ("a = 1", last_cell, "b = 1")]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    planted = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(planted, tmp_path / "planted.ipynb")
    with pytest.raises(execute.NotebookError, match=said):
        execute.execute(tmp_path / "planted.ipynb", tmp_path / "out", {"a": 2}, cwd=tmp_path)


def test_a_warning_that_a_reader_would_see_fails_whoever_gave_it() -> None:
    cell = nbformat.v4.new_code_cell("import theirs")
    cell.execution_count = 7
    shown = nbformat.v4.new_output(
        "stream", name="stderr", text="x.py:3: \x1b[33mFutureWarning: soon\n  import theirs\n"
    )
    content = nbformat.v4.new_notebook(cells=[cell])
    assert execute.shown_warning(content) is None
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="Warning: printed\n")]
    assert execute.shown_warning(content) is None
    cell.outputs.append(shown)
    assert execute.shown_warning(content) == "cell [7]: x.py:3: FutureWarning: soon"


def _without_magics(source: str) -> str:
    return "\n".join(line for line in source.splitlines() if not line.startswith("%"))
