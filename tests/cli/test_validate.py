"""``nodulenet validate``: all its files, its exit codes, and what it says on which stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
import yaml
from typer.testing import CliRunner

from nodulenet.cli import validate
from nodulenet.errors import DataError, UsageError
from nodulenet.phantom import generate_phantom
from nodulenet.training.run import Run

app = typer.Typer()
app.command()(validate.validate)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of phantom scans whose patients nobody trained on."""
    folder = tmp_path_factory.mktemp("there")
    generate_phantom(folder / "phantom", scans=6, seed=98)
    patients = pd.read_csv(folder / "phantom" / "patients.csv", dtype=str)
    patients["patient_id"] = "OTHER-" + patients["patient_id"]
    patients.to_csv(folder / "patients.csv", index=False)
    tree: dict[str, Any] = {
        "name": "there",
        "run": str(folder / "out"),
        "store": str(folder / "store"),
        "label_meaning": "candidate",
        "source": {
            "kind": "luna16",
            "root": str(folder / "phantom"),
            "patients": str(folder / "patients.csv"),
        },
        "evaluate": {"bootstraps": 100, "subgroups": ["diameter_mm"]},
    }
    (folder / "data.yaml").write_text(yaml.safe_dump(tree))
    return folder / "data.yaml"


def test_everything_is_written(small_run: Run, data: Path) -> None:
    done = CliRunner().invoke(app, [str(small_run.path), "--data", str(data)])
    assert done.exit_code == 0, done.output
    out = data.parent / "out"
    names = {p.name for p in out.iterdir()}
    assert names >= {
        "predictions.csv",
        "findings.csv",
        "metrics.json",
        "report.html",
        "figures",
        "methods.md",
        "config.yaml",
        "validation.json",
    }
    assert "squeezenodule_v1" in done.stdout
    assert "report:" in done.stderr
    facts = json.loads((out / "validation.json").read_text(), parse_constant=pytest.fail)
    assert facts["patients"]["ok"] is True
    assert facts["bundle"]["hash"]
    assert facts["versions"]["keras"]
    metrics = json.loads((out / "metrics.json").read_text(), parse_constant=pytest.fail)
    model = metrics["models"]["squeezenodule_v1"]
    assert model["rows"] == facts["counts"]["with_label_and_patch"]
    assert [p["kind"] for p in model["operating_points"]] == ["fixed"]
    assert model["froc"]["cpm"] is not None
    page = (out / "report.html").read_text()
    assert "there: validation of small" in page
    assert "none of the" in page  # the check of the patients
    methods = (out / "methods.md").read_text()
    assert "nothing was trained on these data" in methods
    assert "| 33 | testing on external data | *Design* |" in methods


def test_recalibration_evaluates_the_others(small_run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [str(small_run.path), "--data", str(data), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, [*arguments, "--recalibrate", "0.5", "seed=1"])
    assert done.exit_code == 0, done.output
    metrics = json.loads(done.stdout, parse_constant=pytest.fail)
    part = json.loads((out / "validation.json").read_text())["recalibration"]
    model = metrics["models"]["squeezenodule_v1"]
    assert model["rows"] == part["outer"]["findings"]
    assert metrics["data"]["inner_rows"] == part["inner"]["findings"]
    assert model["recalibration"]["available"]
    assert model["recalibration"]["rows"] == model["rows"]
    assert {"youden", "fixed"} <= {p["kind"] for p in model["operating_points"]}
    assert "12f | updating of the model, such as recalibration | *Part" in (
        (out / "methods.md").read_text()
    )


def test_failures_are_listed_with_exit_code_4(small_run: Run, data: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(data.read_text())
    scans = sorted(Path(tree["source"]["root"]).glob("subset*/*.mhd"))
    hidden = scans[0].rename(scans[0].with_suffix(".away"))
    try:
        done = CliRunner().invoke(
            app,
            [
                *(str(small_run.path), "--data", str(data), "--out", str(tmp_path / "out")),
                f"store={tmp_path / 'store'}",
            ],
        )
    finally:
        hidden.rename(scans[0])
    assert done.exit_code == 4, done.output
    assert scans[0].stem in done.stderr
    assert scans[0].stem in (tmp_path / "out" / "report.html").read_text()
    assert "could not be used" in (tmp_path / "out" / "methods.md").read_text()


def test_patients_of_the_training_write_nothing(small_run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [str(small_run.path), "--data", str(data), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "source.patients=null"])
    assert isinstance(done.exception, DataError)
    assert "were in the training" in str(done.exception)
    assert not out.exists()


def test_data_is_needed(small_run: Run) -> None:
    done = CliRunner().invoke(app, [str(small_run.path)])
    assert isinstance(done.exception, UsageError)
    assert "--data CONFIG is missing" in str(done.exception)
