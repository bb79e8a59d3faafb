"""Many scans: the answers of each alone, one bad scan listed, finished ones not asked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nodulenet.config.schema import PointsSource
from nodulenet.errors import DataError, UsageError
from nodulenet.inference import many_scans
from nodulenet.inference.answering import Answering
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.classify import classify
from nodulenet.inference.many_scans import classify_scans, folder_name
from nodulenet.inference.outputs.formats import chosen_formats
from nodulenet.training.run import ID_DTYPES, Run

POINT = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]


@pytest.fixture
def asked(small_run: Run, tmp_path: Path) -> tuple[PointsSource, pd.DataFrame]:
    """Four scans of the small run with three points each, one of them damaged."""
    rows = pd.read_csv(small_run.path / "predictions.csv", dtype=ID_DTYPES)
    rows = rows[(rows["split"] == "outer") & (rows["kind"] == "network")]
    names = sorted(rows["scan_id"].unique())[:4]
    root = small_run.config.source.root  # type: ignore[union-attr]
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in names:
        for file in root.glob(f"subset*/{name}.*"):
            (scans / file.name).write_bytes(file.read_bytes())
    (scans / f"{names[-1]}.mhd").write_text("no header")
    points = rows[rows["scan_id"].isin(names)].groupby("scan_id").head(3)
    table = points[["finding_id", "scan_id"]].assign(
        **dict(zip("xyz", points[POINT].to_numpy().T, strict=True))
    )
    table.to_csv(tmp_path / "points.csv", index=False)
    source = PointsSource(kind="points", scans=scans, points=tmp_path / "points.csv", space="lps")
    return source, points


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_scan_is_answered_as_if_it_were_alone(
    asked: tuple[PointsSource, pd.DataFrame],
    small_run: Run,
    tmp_path: Path,
    jobs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, points = asked
    out = tmp_path / "out"
    formats = chosen_formats("json,slicer")
    done = classify_scans(source, small_run.path, out, formats=formats, jobs=jobs)
    assert (done.made, done.reused) == (3, 0)
    bad = sorted(points["scan_id"].unique())[-1]
    assert [f["what"] for f in done.failures] == [f"scan {bad} (3 findings)"]
    for name, own in points[points["scan_id"] != bad].groupby("scan_id"):
        alone = classify(
            source.scans / f"{name}.mhd",
            own[POINT].to_numpy(),
            small_run.path,
            finding_ids=list(own["finding_id"]),
        ).table
        found = done.table[done.table["scan_id"] == name].set_index("finding_id")
        found = found.loc[own["finding_id"]]
        np.testing.assert_allclose(found["probability"], alone["probability"], atol=1e-6)
        assert list(found["call"]) == list(alone["call"])
        place = out / "scans" / str(name)
        assert {f.name for f in place.iterdir()} == {
            "answers.csv",
            "answers.json",
            "done.json",
            "findings.mrk.json",
        }
    assert len(pd.read_csv(out / "answers.csv")) == 9
    assert len(pd.read_csv(out / "failures.csv")) == 1
    assert json.loads((out / "classify.json").read_text())["findings"] == 9
    # Asked again, nothing is read; another question is answered anew.
    monkeypatch.setattr(many_scans, "answer_cuts", lambda *_: pytest.fail("was asked again"))
    again = classify_scans(source, small_run.path, out, formats=formats)
    assert (again.made, again.reused) == (0, 3)
    pd.testing.assert_frame_equal(again.table, done.table)
    monkeypatch.undo()
    table = pd.read_csv(source.points)
    first = table.loc[table["scan_id"] != bad, "scan_id"].iloc[0]
    table.loc[table["scan_id"] == first, "z"] += 1.0
    table.to_csv(source.points, index=False)
    moved = classify_scans(source, small_run.path, out, formats=formats)
    assert (moved.made, moved.reused) == (1, 2)


def test_a_killed_run_keeps_what_was_finished(
    asked: tuple[PointsSource, pd.DataFrame],
    small_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, _ = asked
    out = tmp_path / "out"
    monkeypatch.setattr(many_scans, "BATCH", 1)
    write, written = many_scans._write, []

    def killed(*args: object) -> list[dict[str, str]]:
        if written:
            raise KeyboardInterrupt
        written.append(args)
        return write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(many_scans, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        classify_scans(source, small_run.path, out)
    assert not (out / "answers.csv").exists()
    monkeypatch.setattr(many_scans, "_write", write)
    done = classify_scans(source, small_run.path, out)
    assert (done.made, done.reused) == (2, 1)


def test_relative_paths_are_answered_and_continued(
    asked: tuple[PointsSource, pd.DataFrame],
    small_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, _ = asked
    monkeypatch.chdir(tmp_path)
    near = source.model_copy(update={"scans": Path("scans"), "points": Path("points.csv")})
    done = classify_scans(near, small_run.path, "out")
    assert (len(done.table), done.made, done.reused) == (9, 3, 0)
    again = classify_scans(near, small_run.path, "out")
    assert (again.made, again.reused) == (0, 3)


def test_a_run_killed_while_it_writes_leaves_no_answer_to_another_question(
    asked: tuple[PointsSource, pd.DataFrame],
    small_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, _ = asked
    rare, common = Answering(prevalence=0.05), Answering(prevalence=0.5)
    formats = chosen_formats("json")

    def call(how: Answering) -> many_scans.ManyAnswers:
        return classify_scans(source, small_run.path, tmp_path, answering=how, formats=formats)

    first = call(rare)
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(many_scans, "write_outputs", killed)
        with pytest.raises(KeyboardInterrupt):
            call(common)
    again = call(rare)
    assert (again.made, again.reused) == (1, 2)
    pd.testing.assert_frame_equal(again.table, first.table)


def test_ids_of_digits_stay_as_they_are(
    asked: tuple[PointsSource, pd.DataFrame], small_run: Run, tmp_path: Path
) -> None:
    source, _ = asked
    table = pd.read_csv(source.points, dtype=str).assign(patient_id="0012", finding_note="007")
    table.to_csv(source.points, index=False)
    kept = source.model_copy(update={"keep_ids": True})
    classify_scans(kept, small_run.path, tmp_path / "out")
    found = pd.read_csv(tmp_path / "out" / "answers.csv", dtype=str)
    assert set(found["patient_id"]) == {"0012"}


def test_findings_that_cannot_be_answered_do_not_end_the_others(
    asked: tuple[PointsSource, pd.DataFrame],
    small_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, points = asked
    bad = sorted(points["scan_id"].unique())[0]
    answer = many_scans.answer_cuts

    def fails(bundle: Any, model: Any, how: Any, cuts: Any) -> Any:
        if any((cut.table["scan_id"] == bad).any() for cut in cuts):
            raise ValueError("could not convert string to float")
        return answer(bundle, model, how, cuts)

    monkeypatch.setattr(many_scans, "answer_cuts", fails)
    done = classify_scans(source, small_run.path, tmp_path / "out")
    assert done.made == 2
    assert {f["what"] for f in done.failures} > {f"scan {bad} (3 findings)"}


def test_another_engine_is_another_question(
    asked: tuple[PointsSource, pd.DataFrame], small_run: Run, tmp_path: Path
) -> None:
    source, _ = asked
    classify_scans(source, Bundle(small_run.path), tmp_path / "out")
    again = classify_scans(source, Bundle(small_run.path, engine="keras"), tmp_path / "out")
    assert again.reused == 0


def test_scans_are_called_as_the_points_call_them(
    asked: tuple[PointsSource, pd.DataFrame], small_run: Run, tmp_path: Path
) -> None:
    source, points = asked
    name = sorted(points["scan_id"].unique())[0]
    for file in source.scans.glob(f"{name}.*"):
        file.rename(file.with_stem("case-1"))
    header = source.scans / "case-1.mhd"
    header.write_text(header.read_text().replace(f"{name}.", "case-1."))
    table = pd.read_csv(source.points, dtype=str)
    table["scan_id"] = table["scan_id"].replace(name, "case-1")
    table.to_csv(source.points, index=False)
    done = classify_scans(source, small_run.path, tmp_path / "out")
    own = done.table[done.table["scan_id"] == "case-1"]
    assert len(own) == 3
    assert list(done.table.columns[:3]) == ["finding_id", "scan_id", "series_uid"]


def test_what_cannot_be_done_is_said_first(
    asked: tuple[PointsSource, pd.DataFrame], small_run: Run, tmp_path: Path
) -> None:
    source, _ = asked
    with pytest.raises(UsageError, match="--jobs is for this machine"):
        classify_scans(source, small_run.path, tmp_path / "o", jobs=2, scheduler="tcp://x:1")
    for file in source.scans.glob("*.mhd"):
        file.write_text("no header")
    with pytest.raises(DataError, match="not one scan was answered; first: "):
        classify_scans(source, small_run.path, tmp_path / "o")


def test_folders_of_scans_are_told_apart() -> None:
    assert folder_name("1.2.840.1") == "1.2.840.1"
    names = [folder_name(n) for n in ("a/b", "a_b", "a b", "..", "ä")]
    assert len(set(names)) == 5
    assert all("/" not in n and n not in ("..", ".") for n in names)
