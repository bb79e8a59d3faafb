"""``nodulenet froc``: the keys of its JSON, its files, and its word on what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from nodulenet.cli import froc
from nodulenet.errors import PredictionsError

app = typer.Typer()
app.command()(froc.froc)
KEYS = {
    "sensitivities",
    "cpm",
    "true_positives",
    "false_positives",
    "false_negatives",
    "ignored_excluded",
    "ignored_duplicates",
    "candidates",
}


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, str]:
    header = "seriesuid,coordX,coordY,coordZ,"
    files = {
        "submission": header + "probability\ns,0,0,0,0.9\ns,1,0,0,0.2\nt,50,0,0,0.8\nt,9,9,9,0.7\n",
        "annotations": header + "diameter_mm\ns,0,0,0,8\nt,90,0,0,8\n",
        "excluded": header + "diameter_mm\nt,50,0,0,-1\n",
        "series": "s\nt\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return {name: str(tmp_path / f"{name}.csv") for name in files}


def arguments(tables: dict[str, str], *, excluded: bool = True) -> list[str]:
    given = [tables["submission"], "--annotations", tables["annotations"]]
    given += ["--series", tables["series"]]
    return [*given, "--excluded", tables["excluded"]] if excluded else given


def test_json_has_the_names_of_the_counts(tables: dict[str, str]) -> None:
    done = CliRunner().invoke(app, [*arguments(tables), "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout, parse_constant=pytest.fail)
    assert content.keys() >= KEYS
    counted = [content[name] for name in sorted(KEYS - {"sensitivities", "cpm"})]
    assert counted == [4, 1, 1, 1, 1, 1]
    assert content["sensitivities"] == [0.5] * 7
    assert content["cpm"] == 0.5
    assert len(content["sensitivities_interval"]) == 7
    assert len(content["cpm_interval"]) == 2
    assert content["interval"]["n_bootstrap"] == 1000


def test_the_table_tells_the_same(tables: dict[str, str]) -> None:
    done = CliRunner().invoke(app, [*arguments(tables), "--level", "0.9", "--seed", "2"])
    assert "FROC: 2 nodules in 2 scans" in done.stdout
    assert "90% interval" in done.stdout
    for text in ("1/8", "mean (CPM)", "0.5000", "candidates 4", "(false negatives): 1"):
        assert text in done.stdout
    assert "warning" not in done.stderr


def test_without_excluded_findings_it_says_so(tables: dict[str, str]) -> None:
    done = CliRunner().invoke(app, [*arguments(tables, excluded=False), "--json"])
    assert json.loads(done.stdout)["false_positives"] == 2
    assert "no --excluded" in done.stderr


def test_files(tables: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = CliRunner().invoke(app, [*arguments(tables), "--out", str(out), "--json"])
    names = ["froc.csv", "froc.json", "froc.png", "froc.svg", "froc_curve.csv", "missed.csv"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert json.loads((out / "froc.json").read_text()) == json.loads(done.stdout)
    curve = pd.read_csv(out / "froc_curve.csv")
    points = curve[curve["row"] == "point"]
    assert points["threshold"].tolist()[1:] == [0.9, 0.7]
    assert points["fp_rate"].tolist() == [0, 0, 0.5]
    assert points["sensitivity"].tolist() == [0, 0.5, 0.5]
    band = curve[curve["row"] == "band"]
    assert (band["low"] <= band["sensitivity"]).all()
    assert (band["sensitivity"] <= band["high"]).all()
    missed = pd.read_csv(out / "missed.csv")
    assert missed["scan_id"].tolist() == ["t"]
    assert missed["x_lps_mm"].tolist() == [90]


def test_no_resamples_no_intervals(tables: dict[str, str]) -> None:
    content = json.loads(
        CliRunner().invoke(app, [*arguments(tables), "--bootstraps", "0", "--json"]).stdout
    )
    assert content["cpm_interval"] == [None, None]
    shown = CliRunner().invoke(app, [*arguments(tables), "--bootstraps", "0"]).stdout
    assert " - \n" in shown or " -\n" in shown


def test_a_wrong_table_leaves_stdout_empty(tables: dict[str, str], tmp_path: Path) -> None:
    Path(tables["submission"]).write_text("seriesuid,coordX\n")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, [*arguments(tables), "--json", "--out", str(out)])
    assert isinstance(done.exception, PredictionsError)
    assert done.stdout == ""
    assert not out.exists()


@pytest.mark.data
def test_the_published_example(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("luna16_eval")
    given = [str(folder / "submission.csv"), "--annotations", str(folder / "annotations.csv")]
    given += ["--excluded", str(folder / "annotations_excluded.csv")]
    given += ["--series", str(folder / "seriesuids.csv"), "--json"]
    content = json.loads(CliRunner().invoke(app, given).stdout)
    expected = json.loads((folder / "expected.json").read_text())
    assert {name: content[name] for name in KEYS - {"sensitivities", "cpm"}} == {
        name: expected[name] for name in KEYS - {"sensitivities", "cpm"}
    }
    assert content["cpm"] == pytest.approx(expected["cpm"], abs=1e-11)
