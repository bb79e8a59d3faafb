"""The workflow on the small run: everything that is there is taken as it is, and only that."""

from __future__ import annotations

import shutil
from pathlib import Path
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
    audited = [line for line in heard.lines if "no series belongs to two patients" in line]
    assert audited
    assert (moved.run / "store_audit_pairs.csv").is_file()
    before = times(moved.run)
    again = workflow.run(moved, progress=(second := Heard()))
    assert times(moved.run) == before
    assert again.report.metrics == first.report.metrics
    assert again.report.notes == first.report.notes
    assert any(line.startswith("nothing has changed") for line in second.lines)
    assert [line for line in second.lines if line in audited] == audited
    evaluate = moved.evaluate.model_copy(update={"level": 0.8})
    run = Run(moved.run, moved.model_copy(update={"evaluate": evaluate}))
    other = workflow.evaluate_once(run, Silent())
    assert other.metrics["settings"]["level"] == 0.8
    # Predictions that somebody turned are other predictions.
    file = moved.run / "predictions.csv"
    table = pd.read_csv(file)
    table.assign(probability=1 - table["probability"]).to_csv(file, index=False)
    turned = workflow.evaluate_once(run, Silent())
    name = next(iter(other.metrics["models"]))
    aucs = [r.metrics["models"][name]["pooled"]["auc"]["value"] for r in (other, turned)]
    assert sum(aucs) == pytest.approx(1)


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
