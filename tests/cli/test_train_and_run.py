"""``train`` and ``run``: what they pass on, refuse, print and leave with; stopped by Ctrl-C.

The training is a stand-in, so that no framework is imported.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from nodulenet.cli import terminal
from nodulenet.cli.main import app
from nodulenet.config.schema import EvaluateConfig
from nodulenet.errors import NoduleNetError
from nodulenet.evaluation.summary import summarize
from nodulenet.workflow import WorkflowResult


class Asked:
    """Stands in for everything heavy and keeps what it was asked."""

    def __init__(self) -> None:
        self.train: dict[str, Any] = {}
        self.failures: list[dict[str, str]] = []
        self.estimated: dict[str, Any] = {}

    def fake_train(self, config: Any, **options: Any) -> Any:
        options.pop("progress")
        self.train = options
        run = SimpleNamespace(path=config.run)
        return SimpleNamespace(
            run=run, predictions=None, values=None, failures=self.failures, made=3, reused=1
        )

    def fake_estimate(self, config: Any, **choice: Any) -> Any:
        self.estimated = choice | {"models": [m.key for m in config.models]}
        lines = [("units", "12 units of 20 epochs"), ("time", "3.5 hours")]
        return SimpleNamespace(lines=lambda: lines, to_dict=lambda: {"hours": 3.5})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    fakes = {
        "nodulenet.training.kfold": {"train": asked.fake_train},
        "nodulenet.training.estimate": {"estimate_training": asked.fake_estimate},
        "nodulenet.inference.bundle_content": {"write_bundle": lambda *_: None},
        "nodulenet.patches.prepare": {"open_store": lambda _: None},
    }
    for name, content in fakes.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return asked


def call(*arguments: str) -> tuple[int, str, str]:
    """The command within this process: exit code, stdout, stderr."""
    done = CliRunner().invoke(app, arguments)
    error = done.exception
    if isinstance(error, NoduleNetError):
        return error.exit_code, done.stdout, str(error)
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return done.exit_code, done.stdout, done.stderr


def test_train_passes_on_only_what_was_asked_for(asked: Asked) -> None:
    code, stdout, stderr = call("train", "demo", "run=somewhere")
    assert (code, stdout, asked.train) == (0, "somewhere\n", {})
    assert "3 models trained now, 1 before" in stderr
    options = ["train.threads=1", "--folds", "3, 0", "--models", "squeezenet_1.1", "--jobs", "2"]
    assert call("train", "demo", *options)[0] == 0
    assert asked.train == {"folds": [3, 0], "models": ["squeezenet_1.1"], "jobs": 2}
    assert call("train", "demo", "--scheduler", "tcp://host:8786")[0] == 0
    assert asked.train == {"scheduler": "tcp://host:8786"}


def test_failures_of_units_are_listed_with_code_4(asked: Asked) -> None:
    asked.failures = [{"what": "unit squeezenet_1.1 fold 2", "error": "epoch 3: the loss is nan"}]
    code, _, stderr = call("train", "demo")
    assert code == 4
    assert "error: unit squeezenet_1.1 fold 2: epoch 3: the loss is nan" in stderr


def test_a_dry_run_prints_the_estimate_of_what_was_chosen(asked: Asked) -> None:
    options = ["--models", "squeezenet_1.1", "--folds", "2"]
    code, stdout, _ = call("train", "demo", "--dry-run", *options)
    assert code == 0
    assert "12 units of 20 epochs" in stdout
    assert asked.estimated["models"] == ["squeezenet_1.1"]
    assert asked.estimated["folds"] == [2]
    assert json.loads(call("train", "demo", "--dry-run", "--json")[1]) == {"hours": 3.5}
    assert call("train", "demo", "--json")[0] == 2
    assert asked.train == {}


@pytest.mark.parametrize("verb", ["train", "run"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--models", "squeezenet_1.1,v3"], "has no 'v3'; it has squeezenodule_v2, squeezenet_1.1"),
        (["--models", "a,,b"], "--models 'a,,b': expected names with commas"),
        (["--folds", "5"], "there is no fold 5; there are 0, 1, 2, 3, 4"),
        (["--folds", "1-3"], "--folds '1-3': expected whole numbers from 0 on"),
        (["--folds", ""], "--folds '': expected whole numbers"),
        (["--jobs", "2", "--scheduler", "tcp://h:1"], "give one"),
        (["--jobs", "2"], "--jobs 2 needs train.threads, because"),
    ],
)
def test_a_wrong_choice_is_one_line_with_what_there_is(
    asked: Asked, verb: str, options: list[str], expected: str
) -> None:
    code, stdout, stderr = call(verb, "demo", *options)
    assert (code, stdout) == (2, "")
    assert expected in stderr
    assert "\n" not in stderr


def test_jobs_below_one_are_refused(asked: Asked) -> None:
    assert call("train", "demo", "--jobs", "0")[0] == 2


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    rows = [(f"{i}", f"{i}", i % 2, "m", "outer", i % 2, 0.1 * (i % 7)) for i in range(20)]
    names = ["finding_id", "patient_id", "fold", "model", "split", "label", "probability"]
    return summarize(pd.DataFrame(rows, columns=names), EvaluateConfig(bootstraps=100), seed=0)


@pytest.mark.parametrize("failures", [[], [{"what": "scan 1.2.3", "error": "is not there"}]])
def test_run_prints_the_table_and_lists_failures(
    monkeypatch: pytest.MonkeyPatch, metrics: dict[str, Any], failures: list[dict[str, str]]
) -> None:
    report = SimpleNamespace(path=Path("r/report.html"), metrics=metrics, notes=["a note"])
    given: dict[str, Any] = {}

    def fake(config: Any, **options: Any) -> WorkflowResult:
        given.update(options)
        return WorkflowResult(config.run, report, failures, 1, 0)  # type: ignore[arg-type]

    monkeypatch.setattr("nodulenet.workflow.run", fake)
    code, stdout, stderr = call("run", "demo", "--folds", "0,3", "--jobs", "2")
    assert code == (4 if failures else 0)
    assert "Out-of-fold results: 20 findings" in stdout
    assert "warning: a note" in stderr
    assert "report: r/report.html" in stderr
    assert ("error: scan 1.2.3: is not there" in stderr) == bool(failures)
    given.pop("progress")
    assert given == {"folds": [0, 3], "models": None, "jobs": 2, "scheduler": None}


# The verb with a training that takes for ever, as it would run in this process.
STOPPED = """
import sys, time, types
from pathlib import Path
from nodulenet.atomic import write_json, write_text

class Unit:
    def __init__(self, fold): self.model, self.fold, self.seed = "squeezenodule_v2", fold, 0

def train(config, *, progress):
    units = [Unit(fold) for fold in range(3)]
    with progress.watching(config.run, units, 5):
        for unit in units:
            folder = config.run / f"units/{unit.model}/fold-{unit.fold}/seed-0"
            write_json(folder / "started.json", {"epochs": 5})
            text = "epoch,loss,val_auc,seconds,patches_per_s\\n"
            for epoch in range(1, 6 if unit.fold == 0 else 3):
                text += f"{epoch},0.5,0.75,0.1,99\\n"
                write_text(folder / "history.csv", text)
            if unit.fold == 0:
                write_json(folder / "unit.json", {})
            else:
                time.sleep(60)

for name, content in {
    "nodulenet.training.kfold": {"train": train},
    "nodulenet.inference.bundle_content": {"write_bundle": None},
    "nodulenet.patches.prepare": {"open_store": lambda config: None},
}.items():
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(content)
from nodulenet.cli.main import main
main()
"""
CTRL_C = b"\x03"


def test_ctrl_c_ends_at_once_says_what_is_kept_and_leaves_the_terminal_whole(
    tmp_path: Path,
) -> None:
    main_end, terminal_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, "train", "demo", f"run={tmp_path / 'run'}"],
        stdin=terminal_end,
        stdout=subprocess.PIPE,
        stderr=terminal_end,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
        start_new_session=True,
        # Ctrl-C comes from the terminal, as a user gives it.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal_end)
    seen = b""
    deadline = time.monotonic() + 60
    while b"1/3 units" not in seen:
        assert time.monotonic() < deadline, seen.decode()
        seen += _read(main_end)
    time.sleep(0.5)
    os.write(main_end, CTRL_C)
    stopped = time.monotonic()
    while chunk := _read(main_end, wait_s=10.0):
        seen += chunk
    code = process.wait(10)
    assert time.monotonic() - stopped < 2
    assert code == terminal.STOPPED
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()).replace("\r", "")
    assert "kept: 1 of 3 units finished; squeezenodule_v2 fold 1 after epoch 2 of 5" in text
    assert "the same command goes on from there" in text
    assert "Traceback" not in text
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l")  # the cursor is back
    os.close(main_end)


def _read(descriptor: int, wait_s: float = 0.2) -> bytes:
    if not select.select([descriptor], [], [], wait_s)[0]:
        return b""
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other end has gone
        return b""
