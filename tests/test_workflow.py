"""The workflow on the small run: everything that is there is taken as it is, and only that."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from nodulenet import workflow
from nodulenet.config.schema import Config
from nodulenet.errors import UsageError
from nodulenet.patches.prepare import open_store
from nodulenet.progress import Silent
from nodulenet.training.run import Run


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text.strip())


@pytest.fixture
def moved(small_run: Run, tmp_path: Path) -> Config:
    """The configuration of a copy of the small run, with its store."""
    run = tmp_path / "run"
    shutil.copytree(small_run.path, run)
    return small_run.config.model_copy(update={"run": run})


def times(run: Path) -> dict[Path, int]:
    kept = [*run.rglob("unit.json"), *run.rglob("*.npy"), *run.glob("store_audit*"),
            run / "report.html", run / "metrics.json"]  # fmt: skip
    return {f: f.stat().st_mtime_ns for f in kept}


def test_a_second_call_does_nothing_twice_and_a_changed_question_is_answered(
    moved: Config,
) -> None:
    heard = Heard()
    first = workflow.run(moved, progress=heard)
    assert (first.made, first.reused, first.failures) == (0, 2, [])
    stages = [line for line in heard.lines if line.startswith("[")]
    assert [s.split(":")[0] for s in stages] == [
        "[1/5] scans",
        "[2/5] prepare",
        "[3/5] audit",
        "[4/5] train",
        "[5/5] evaluate",
    ]
    audited = [line for line in heard.lines if "checks: nothing that two patients share" in line]
    assert audited
    assert (moved.run / "store_audit_pairs.csv").is_file()
    before = times(moved.run)
    again = workflow.run(moved, progress=(second := Heard()))
    assert times(moved.run) == before
    assert again.report.metrics == first.report.metrics
    assert again.report.notes == first.report.notes
    assert any(line.startswith("nothing has changed") for line in second.lines)
    assert [line for line in second.lines if line in audited] == audited


def test_the_report_is_made_again_when_the_question_or_the_predictions_change(
    moved: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Run] = []

    def report_on_run(run: Run) -> Any:
        made.append(run)
        # As the true one does: what was recorded of an earlier report is gone.
        run.record("evaluate", {"report": "report.html", "failures": []})
        return SimpleNamespace(notes=["a note"])

    monkeypatch.setattr("nodulenet.report.run.report_on_run", report_on_run)
    run = Run(moved.run, moved)

    def reports_made(run: Run) -> int:
        before = len(made)
        assert workflow.evaluate_once(run, Silent()).notes == ["a note"]
        return len(made) - before

    assert [reports_made(run), reports_made(run)] == [1, 0]
    evaluate = moved.evaluate.model_copy(update={"level": 0.8})
    other = Run(moved.run, moved.model_copy(update={"evaluate": evaluate}))
    assert [reports_made(other), reports_made(other)] == [1, 0]
    file = moved.run / "predictions.csv"
    table = pd.read_csv(file)
    table.assign(probability=1 - table["probability"]).to_csv(file, index=False)
    assert [reports_made(other), reports_made(other)] == [1, 0]
    # `nodulenet evaluate` by hand, perhaps with other settings, leaves its own report.
    report_on_run(other)
    assert reports_made(other) == 1
    (moved.run / "report.html").unlink()
    assert reports_made(other) == 1


def test_failures_of_all_steps_come_together_and_options_go_where_they_belong(
    small_tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, dict[str, Any]] = {}

    def fake_prepare(config: Config, **options: Any) -> Any:
        given["prepare"] = options
        failures = [{"what": "scan 1", "error": "gone"}]
        return SimpleNamespace(store=[1, 2], warnings=["odd"], made=1, reused=0, failures=failures)

    def fake_train(config: Config, **options: Any) -> Any:
        given["train"] = options
        failures = [{"what": "unit v1 fold 0", "error": "nan"}]
        return SimpleNamespace(run=Run(config.run, config), failures=failures, made=2, reused=3)

    monkeypatch.setattr("nodulenet.patches.prepare.prepare", fake_prepare)
    monkeypatch.setattr(workflow, "audit_once", lambda *_: [])
    monkeypatch.setattr(workflow, "train_and_bundle", fake_train)
    monkeypatch.setattr(workflow, "evaluate_once", lambda *_: "report")
    source = {"kind": "patches", "archive": "a.npz", "table": "t.csv"}
    config = Config.model_validate(
        small_tree | {"run": str(tmp_path), "source": source, "folds": {"kind": "grouped"}}
    )
    heard = Heard()
    result = workflow.run(
        config, folds=[0], models=["squeezenodule_v1"], scheduler="tcp://h:1", progress=heard
    )
    assert [f["what"] for f in result.failures] == ["scan 1", "unit v1 fold 0"]
    assert (result.made, result.reused, result.run) == (2, 3, tmp_path)
    assert [line[:5] for line in heard.lines if line.startswith("[")] == [
        "[1/4]",
        "[2/4]",
        "[3/4]",
        "[4/4]",
    ]
    assert "warning: odd" in heard.lines
    # Patches that are cut already are nothing for a cluster.
    assert given["prepare"] == {"progress": heard, "jobs": None, "scheduler": None}
    assert given["train"]["scheduler"] == "tcp://h:1"
    assert (given["train"]["folds"], given["train"]["models"]) == ([0], ["squeezenodule_v1"])


def test_a_damaged_store_audit_is_made_again(moved: Config) -> None:
    store = open_store(moved)
    checks = workflow.audit_once(moved, store, Silent())
    file = moved.run / workflow.STORE_AUDIT
    for damaged in ("", "{", "[]", '{"patches": 1}'):
        file.write_text(damaged)
        assert workflow.audit_once(moved, store, Silent()) == checks


def test_a_wrong_choice_is_refused_before_anything_is_done(
    small_tree: dict[str, Any], tmp_path: Path
) -> None:
    config = Config.model_validate(small_tree | {"run": str(tmp_path / "new")})
    with pytest.raises(UsageError, match=r"there is no fold 2; there are 0, 1$"):
        workflow.run(config, folds=[0, 2])
    with pytest.raises(UsageError, match="has no 'v9'; it has squeezenodule_v1"):
        workflow.run(config, models=["v9"])
    assert not (tmp_path / "new").exists()
