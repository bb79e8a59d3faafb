"""The folder in which the commands of the documentation run: the files that the pages name.

Everything is phantom data: a scan ``new``, its positions ``points.csv``, a run ``runs/demo_quick``
(the small run of the tests stands in for it), and tables of others made from these.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.docs.pages import Block, Command, read_page

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = "runs/demo_quick"


class Workspace:
    """A folder, and a way to run there what a page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done: dict[Command, int] = {}

    def write(self, name: str, content: str) -> None:
        """Write a file that a page shows."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")

    def execute(self, block: Block, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """Run a Python block; ``names`` is what the blocks of its page have defined."""
        # The line numbers of an error are then those of the page.
        code = compile("\n" * block.line + block.content, str(block.page), "exec")
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("default")  # as for a user: shown, not raised
            patch.chdir(self.folder)
            exec(code, names)

    def run(self, command: Command, monkeypatch: pytest.MonkeyPatch, *, apart: bool) -> int:
        """Run a command in this process, or ``apart`` in one of its own; its exit code.

        What several pages tell to type in the same words runs once.

        Raises:
            AssertionError: for a program that no test runs; such a block needs a
                ``<!-- not run: REASON -->``.
        """
        if command not in self._done:
            self._done[command] = self._run(command, monkeypatch, apart=apart)
        return self._done[command]

    def _run(self, command: Command, monkeypatch: pytest.MonkeyPatch, *, apart: bool) -> int:
        module, words = "nodulenet.cli.main", list(command.words)
        if words[0] == "make":
            return 0  # that its target exists is looked at elsewhere
        if words[:2] == ["python", "-m"]:
            module, words = words[2], words[2:]
        elif words[0] != "nodulenet":
            raise AssertionError(f"{words[0]!r} is not run by a test: say why in `not run`")
        environment = dict(command.environment)
        if apart or any(name.startswith(("KERAS_", "TF_")) for name in environment):
            return self._run_apart(module, words[1:], environment)
        return self._run_here(module, words, environment, monkeypatch)

    def _run_apart(self, module: str, words: list[str], environment: dict[str, str]) -> int:
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            cwd=self.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        sys.stdout.write(done.stdout[-2000:] + done.stderr[-4000:])
        return done.returncode

    def _run_here(
        self,
        module: str,
        words: list[str],
        environment: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> int:
        from nodulenet.cli.main import main

        out, code = io.StringIO(), None
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("default")
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", words)
            for name, value in environment.items():
                patch.setenv(name, value)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                try:
                    if module == "nodulenet.cli.main":
                        main()
                    else:
                        runpy.run_module(module, run_name="__main__", alter_sys=True)
                except SystemExit as end:
                    code = end.code
        sys.stdout.write(out.getvalue()[-4000:])
        assert code is None or isinstance(code, int), code
        return code or 0


def prepare_workspace(folder: Path, run: Path) -> Workspace:
    """A workspace with what the pages name; ``run`` is a finished run that stands in for theirs."""
    from nodulenet.config.schema import Luna16Source
    from nodulenet.findings.luna16 import read_luna16
    from nodulenet.phantom import generate_phantom

    shutil.copytree(run, folder / RUN)
    generate_phantom(folder / "new", scans=1, seed=7, formats=["metaimage", "dicom"])
    points = Luna16Source(kind="luna16", root=folder / "new")
    read_luna16(points).table.to_csv(folder / "points.csv", index=False)
    _write_tables_of_others(folder)
    _write_markups(folder)
    return Workspace(folder)


def _write_tables_of_others(folder: Path) -> None:
    """``mine.csv``, ``theirs.csv``, ``readers.csv``, ``submission.csv``, as the page makes them."""
    page = read_page(REPOSITORY, Path("docs/how-to/someone_elses_model.md"))
    block = next(block for block in page.blocks if block.language == "python")
    with pytest.MonkeyPatch.context() as patch:
        Workspace(folder).execute(block, {}, patch)


def _write_markups(folder: Path) -> None:
    """``F.mrk.json``: the nodules of ``new``, as 3D Slicer saves a point list."""
    nodules = pd.read_csv(folder / "new" / "annotations.csv")
    points = [
        {
            "label": f"F-{number}",
            "position": [row.coordX, row.coordY, row.coordZ],
            "positionStatus": "defined",
        }
        for number, row in enumerate(nodules.itertuples(), 1)
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points}
    (folder / "F.mrk.json").write_text(json.dumps({"markups": [markup]}), encoding="utf-8")
