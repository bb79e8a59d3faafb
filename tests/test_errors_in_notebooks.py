"""In IPython and Jupyter our errors are one line, the command line's."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodulenet.cli.terminal import complain
from nodulenet.errors import PredictionsError


def test_ipython_shows_the_line_that_the_command_line_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell_module = pytest.importorskip("IPython.core.interactiveshell")
    shell = shell_module.InteractiveShell()
    shell.history_manager.enabled = False
    result = shell.run_cell(
        "import pandas as pd\n"
        "from nodulenet.evaluation import read_predictions\n"
        "table = pd.DataFrame({'cancer': [0, 1], 'score': [0.1, 0.9]})\n"
        "read_predictions(table, columns={'label': 'cancer', 'probability': 'scroe'})"
    )
    shown = capsys.readouterr()
    assert isinstance(result.error_in_exec, PredictionsError)
    complain(str(result.error_in_exec))
    printed = capsys.readouterr().err
    assert (shown.out + shown.err).strip() == printed.strip()
    assert "'scroe', named for probability, is missing (found: cancer, score)" in printed
    # What is no error of a user keeps its traceback.
    shell.run_cell("1 / 0")
    shown = capsys.readouterr()
    assert "Traceback" in shown.out + shown.err
