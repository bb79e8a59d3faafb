"""``nodulenet compare``: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from nodulenet.cli import compare
from nodulenet.errors import UsageError

app = typer.Typer()
app.command()(compare.compare)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    random = np.random.default_rng(0)
    labels = np.arange(90) % 3 == 0
    paths = []
    for index, name in enumerate(("wide", "narrow", "shallow")):
        folder = tmp_path / name
        folder.mkdir()
        table = pd.DataFrame(
            {
                "finding_id": np.arange(90),
                "patient_id": np.arange(90) // 2,
                "fold": np.arange(90) // 2 % 3,
                "model": "v2_3d",
                "label": labels.astype(int),
                "probability": 1 / (1 + np.exp(-random.normal(labels * (2 - index) - 1, 1.0))),
            }
        )
        table.drop(index=[] if index else [4]).to_csv(folder / "predictions.csv", index=False)
        paths.append(str(folder))
    return paths


def test_tables_on_stdout_and_remarks_on_stderr(runs: list[str]) -> None:
    done = CliRunner().invoke(app, [*runs, "--bootstraps", "200"])
    assert done.exit_code == 0, done.output
    for pair in ("wide - narrow", "wide - shallow", "narrow - shallow"):
        assert f"{pair} " in done.stdout
        assert f"{pair}, sensitivity" in done.stdout
    assert "Pooled AUC on the same 89 findings (30 positive) of 45 patients" in done.stdout
    assert "95% interval" in done.stdout
    assert "narrow: 1 rows left out" in done.stderr
    assert "threshold 0.5" in done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 128


def test_json_is_strict_and_alone_on_stdout(runs: list[str]) -> None:
    arguments = [*runs, "--json", "--bootstraps", "200", "--level", "0.9", "--seed", "3"]
    done = CliRunner().invoke(app, [*arguments, "--reference", "shallow", "--margin", "0.05"])
    content = json.loads(done.stdout, parse_constant=pytest.fail)
    assert [row["second"] for row in content["comparisons"]] == ["shallow", "shallow"]
    assert content["settings"]["level"] == 0.9
    assert content["settings"]["seed"] == 3
    assert content["comparisons"][0]["patient_bootstrap"]["level"] == 0.9
    again = CliRunner().invoke(app, [*arguments, "--reference", "shallow", "--margin", "0.05"])
    assert again.stdout == done.stdout


def test_files_hold_what_was_printed(runs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, [*runs, "--json", "--bootstraps", "200", "--margin", "0.2", "--out", str(out)]
    )
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison.csv",
        "comparison.json",
        "difference.csv",
        "difference.png",
        "difference.svg",
    ]
    content = json.loads((out / "comparison.json").read_text())
    assert content == json.loads(done.stdout)
    flat = pd.read_csv(out / "comparison.csv")
    for column in ("first", "second", "rows", "difference", "bootstrap_p_holm"):
        assert flat[column].tolist() == [row[column] for row in content["comparisons"]]
    assert flat["non_inferior"].dtype == bool
    assert (out / "difference.svg").read_text().count("narrow") == 1
    shown = CliRunner().invoke(app, [*runs, "--bootstraps", "200", "--margin", "0.2"]).stdout
    assert "non-inferiority of narrow to wide: " in shown
    assert "against -0.2 (one-sided 97.5%)" in shown


def test_a_margin_or_name_that_cannot_be_is_refused(runs: list[str]) -> None:
    for extra in (["--margin", "0"], ["--reference", "wrong"]):
        done = CliRunner().invoke(app, [*runs, *extra])
        assert isinstance(done.exception, UsageError)
        assert done.stdout == ""


def test_no_framework_is_imported(runs: list[str]) -> None:
    import subprocess

    code = (
        "import sys, typer\n"
        "from nodulenet.cli import compare\n"
        "app = typer.Typer(); app.command()(compare.compare)\n"
        f"try: app({[*runs, '--bootstraps', '100', '--json']!r})\n"
        "except SystemExit as end: assert end.code in (0, None), end.code\n"
        "heavy = ('tensorflow', 'keras', 'torch', 'monai', 'matplotlib', 'sklearn')\n"
        "print([m for m in heavy if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
