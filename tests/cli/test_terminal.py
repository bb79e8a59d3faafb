"""What becomes of errors on the way out, and what the shell completes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from nodulenet.cli.demo import _question
from nodulenet.cli.terminal import run_app
from nodulenet.config.load import load_config, shipped_configs


def app_that(imports: str) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(lambda: __import__(imports))
    return app


def test_a_missing_package_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nodulenet"])
    with pytest.raises(SystemExit) as end:
        run_app(app_that("nosuchframework.layers"))
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: nosuchframework: is not installed here")
    assert "install the whole of NoduleNet" in line


def test_a_missing_module_of_ours_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["nodulenet"])
    with pytest.raises(ModuleNotFoundError):
        run_app(app_that("nodulenet.nosuchmodule"))


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("nodulenet cl", ["classify"]),
        ("nodulenet run lidc", [name for name in shipped_configs() if name.startswith("lidc")]),
        ("nodulenet evaluate --share", ["--share"]),
    ],
)
def test_the_shell_completes(typed: str, completed: list[str]) -> None:
    words = shlex.split(typed)
    environment = os.environ | {
        "_NODULENET_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "import sys; sys.argv[0] = 'nodulenet'; from nodulenet.cli.main import main; main()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == completed


@pytest.mark.skipif(os.name == "nt", reason="split as POSIX shells do")
def test_the_demo_ends_with_a_command_that_a_shell_takes(tmp_path: Path) -> None:
    out = tmp_path / "my demo"
    (out / "phantom" / "subset0").mkdir(parents=True)
    (out / "phantom" / "subset0" / "1.2.3.mhd").touch()
    table = "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.3,-42.12,18.5,-315.6,7\n"
    (out / "phantom" / "annotations.csv").write_text(table)
    overrides = [f"run={json.dumps(str(out))}", f"source.root={json.dumps(str(out / 'phantom'))}"]
    words = shlex.split(_question(load_config("demo_quick", overrides)))
    assert words[:2] == ["nodulenet", "classify"]
    assert Path(words[2]).is_file()
    assert words[3:] == ["--point=-42.1,18.5,-315.6", "--model", str(out)]
