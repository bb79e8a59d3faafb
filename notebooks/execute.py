"""Executes the notebooks; whatever would trouble a reader is a failure.

    python notebooks/execute.py                        # all, with their default parameters
    python notebooks/execute.py 01 05 --out elsewhere  # some
    python notebooks/execute.py 04 -p run runs/lidc_2d # with parameters

The working directory of the notebooks is that of this call. Executed copies are written to
``build/notebooks``. An exception fails a notebook, and so does a warning that is ours or that is
shown to the reader, whoever gave it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = Path("build") / "notebooks"

# Run by the kernel before the first cell: what nodulenet warns of, or causes, is an error.
_STRICT = (
    "import warnings as _w; from nodulenet.errors import NoduleNetWarning as _n; "
    "_w.filterwarnings('error', module=r'nodulenet(\\..*)?$'); "
    "_w.simplefilter('error', _n); "
    # Keras 3.15 with NumPy 2: thousands of lines about nothing of ours, as in the tests.
    "_w.filterwarnings('ignore', '__array__ implementation', DeprecationWarning); "
    "del _w, _n"
)
_WARNING = re.compile(r"^.*\b\w*Warning: .*$", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LIVE = "application/vnd.jupyter.widget-view+json"


class NotebookError(Exception):
    """A notebook cannot be shown to anybody: which cell, and what happened there."""


def notebooks() -> list[Path]:
    """All notebooks of this folder, in their order."""
    return sorted(HERE.glob("[0-9][0-9]_*.ipynb"))


def execute(
    notebook: Path, out: Path, parameters: Mapping[str, Any] | None = None, *, cwd: Path
) -> Path:
    """Executes a notebook from its top in a kernel of its own.

    Args:
        notebook: the ``.ipynb``; it is not changed.
        out: folder of the executed copy, which is written when it fails, too.
        parameters: what replaces the values of its cell tagged ``parameters``.
        cwd: the notebook's working directory.

    Returns:
        The executed copy. Widgets that have a picture of themselves are left as that picture, so
        that the copy shows the same without a kernel and without scripts from elsewhere.

    Raises:
        NotebookError: an exception, or a warning.
    """
    import nbformat
    from nbclient.exceptions import DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    target = out / notebook.name
    out.mkdir(parents=True, exist_ok=True)
    try:
        with _strict_kernel():
            execute_notebook(
                str(notebook),
                str(target),
                parameters=dict(parameters or {}),
                cwd=str(cwd),
                progress_bar=False,
                log_output=False,
                kernel_name="python3",
                store_widget_state=False,
                # The kernel says on the terminal that it is not encrypted; it is this machine's.
                extra_arguments=["--log-level=ERROR", f"--IPKernelApp.exec_lines={_STRICT}"],
            )
    except PapermillExecutionError as error:
        what = " ".join(_COLOURS.sub("", f"{error.ename}: {error.evalue}").split())
        raise NotebookError(f"{notebook.name}, cell [{error.exec_count}]: {what}") from None
    except DeadKernelError as error:
        raise NotebookError(f"{notebook.name}: the kernel died ({error})") from None
    content = nbformat.read(target, as_version=4)
    _tidy(content)
    nbformat.write(content, target)
    shown = shown_warning(content)
    if shown is not None:
        raise NotebookError(f"{notebook.name}, {shown}")
    return target


def parameter_names(notebook: Path) -> set[str]:
    """Names that the notebook's cell of parameters gives a value."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    (cell,) = (c for c in cells if "parameters" in c.metadata.get("tags", []))
    lines = ast.parse(cell.source).body
    return {line.targets[0].id for line in lines if isinstance(line, ast.Assign)}


def shown_warning(content: Any) -> str | None:
    """The first warning that a reader of an executed notebook would see; None without one."""
    for cell in content.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                found = _WARNING.search(_COLOURS.sub("", output.text))
                if found:
                    return f"cell [{cell.execution_count}]: {found.group().strip()}"
    return None


@contextlib.contextmanager
def _strict_kernel() -> Any:
    """The environment that a kernel inherits: quiet, the same everywhere, with our package."""
    added = {
        # TensorFlow's start-up lines say nothing to a reader.
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # The checkout that this file lies in, whichever is installed.
        "PYTHONPATH": os.pathsep.join(
            [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        # A backend that was set for tests would keep figures from being shown.
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _tidy(content: Any) -> None:
    """Leaves of the executed copy what is for readers."""
    content.metadata.pop("papermill", None)
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if _LIVE in data and "image/png" in data:
                del data[_LIVE]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="*", help="beginnings of names, e.g. 01 05; default all")
    parser.add_argument("--out", type=Path, default=OUT, help="default build/notebooks")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    given = parser.parse_args(arguments)
    chosen = [n for n in notebooks() if not given.which or n.name.startswith(tuple(given.which))]
    if not chosen:
        print(f"no notebook begins with {' or '.join(given.which)}", file=sys.stderr)
        return 2
    parameters = {name: _value(text) for name, text in given.p}
    for notebook in chosen:
        unknown = sorted(set(parameters) - parameter_names(notebook))
        if unknown:
            print(f"{notebook.stem}: has no parameter {', '.join(unknown)}", file=sys.stderr)
            return 2
    failed = 0
    for notebook in chosen:
        start = time.monotonic()
        try:
            execute(notebook, given.out, parameters, cwd=Path.cwd())
            verdict = "done"
        except NotebookError as error:
            verdict, failed = f"FAILED\n  {error}", failed + 1
        print(f"{notebook.stem:<24} {time.monotonic() - start:6.1f} s  {verdict}", flush=True)
    return 1 if failed else 0


def _value(text: str) -> Any:
    """As papermill's own ``-p``: numbers and yes or no where it is one, else text."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


if __name__ == "__main__":
    sys.exit(main())
