from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodulenet.config.schema import FoldsConfig
from nodulenet.errors import FoldsError
from nodulenet.patches.audit import audit_folds
from nodulenet.patches.folds import Folds, make_folds

# Small tables have few findings of each label.
few = partial(FoldsConfig, least_of_each_label=1)


def findings(patients: int = 40, per_patient: int = 3, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = patients * per_patient
    return pd.DataFrame(
        {
            "finding_id": [f"f{i}" for i in range(rows)],
            "patient_id": np.repeat([f"p{i}" for i in range(patients)], per_patient),
            "scan_id": np.repeat([f"s{i}" for i in range(patients)], per_patient),
            "label": rng.integers(0, 2, rows),
            "subset": np.repeat(np.arange(patients) % 10, per_patient),
            "content_hash": [f"h{i}" for i in range(rows)],
        }
    )


def patients_of(folds: Folds, rows: np.ndarray) -> set[str]:  # type: ignore[type-arg]
    return set(folds.table["patient_id"].iloc[rows])


@settings(max_examples=25, deadline=None)
@given(st.integers(24, 60), st.integers(1, 4), st.integers(2, 5), st.integers(0, 10**6))
def test_patients_are_on_one_side_only_and_every_finding_is_held_out_once(
    patients: int, per_patient: int, count: int, seed: int
) -> None:
    table = findings(patients, per_patient, seed)
    table["label"] = np.arange(len(table)) % 2  # enough of both for every fold
    folds = make_folds(table, few(count=count), seed=seed)
    held_out = []
    for fold in folds.folds:
        parts = folds.parts(fold)
        sides = [patients_of(folds, rows) for rows in (parts.train, parts.inner, parts.outer)]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]
        assert sum(map(len, (parts.train, parts.inner, parts.outer))) == len(table)
        held_out.extend(parts.outer)
    assert sorted(held_out) == list(range(len(table)))


def test_the_same_seed_gives_the_same_folds_and_labels_are_spread() -> None:
    table = findings(200)
    first = make_folds(table, few(count=5), seed=1)
    again = make_folds(table, few(count=5), seed=1)
    other = make_folds(table, few(count=5), seed=2)
    pd.testing.assert_frame_equal(first.table, again.table)
    assert not first.table["fold"].equals(other.table["fold"])
    rate = first.table.groupby("fold")["label"].mean()
    assert (rate - table["label"].mean()).abs().max() < 0.03


def test_folds_are_read_back_exactly_from_their_file(tmp_path: Path) -> None:
    table = findings()
    folds = make_folds(table, few(count=4), seed=5)
    folds.save(tmp_path / "folds.csv")
    settings = few(kind="file", path=tmp_path / "folds.csv")
    again = make_folds(table, settings, seed=99)
    pd.testing.assert_frame_equal(again.table, folds.table)
    with pytest.raises(FoldsError, match="'new' has no fold"):
        make_folds(table.assign(finding_id=["new", *table["finding_id"][1:]]), settings, seed=0)


def test_official_subsets_stay_and_a_patient_in_two_is_left_out_of_training() -> None:
    table = findings(60)
    # As LIDC-IDRI-0332 in LUNA16: one patient with scans in subsets 2 and 6.
    first, second = table.index[table["subset"] == 2][0], table.index[table["subset"] == 6][0]
    table.loc[table["patient_id"] == table["patient_id"][second], "patient_id"] = table[
        "patient_id"
    ][first]
    who = table["patient_id"][first]
    folds = make_folds(table, few(kind="luna16"), seed=0)
    assert list(folds.table["fold"]) == list(table["subset"])
    assert [n.split(":")[0] for n in folds.notes] == ["fold 2", "fold 6"]
    for fold in (2, 6):
        parts = folds.parts(fold)
        assert who in patients_of(folds, parts.outer)
        assert who not in patients_of(folds, np.concatenate([parts.train, parts.inner]))
    assert audit_folds(table, folds, allow_shared_patients=False).ok
    paired = make_folds(table, few(kind="luna16", subsets_per_fold=2), seed=0)
    assert list(paired.table["fold"]) == list(table["subset"] // 2)


def test_the_holdout_keeps_the_published_parts() -> None:
    table = findings().assign(part=np.repeat(["train", "val", "test"], 40))
    folds = make_folds(table, few(kind="holdout"), seed=0)
    parts = folds.parts(0)
    assert folds.folds == [0]
    for rows, name in ((parts.train, "train"), (parts.inner, "val"), (parts.outer, "test")):
        # The patient ids of this table cross the parts at two places, which are left out.
        assert set(table["part"].iloc[rows]) == {name}


def test_scans_of_one_patient_can_be_moved_into_one_subset() -> None:
    table = findings(60)
    rows = table.index[(table["subset"] == 6)][:3]
    table.loc[table["patient_id"] == table["patient_id"][rows[0]], "patient_id"] = "p2"
    folds = make_folds(table, few(kind="luna16_grouped"), seed=0)
    assert set(folds.table["fold"][folds.table["patient_id"] == "p2"]) == {2}
    assert (folds.table["fold"] == table["subset"])[table["patient_id"] != "p2"].all()
    assert folds.notes == (
        "patient p2 has scans in subsets 2 and 6; all are taken into subset 2 (3 findings moved)",
    )


def test_repeats_hold_every_finding_out_once_each_and_differ(tmp_path: Path) -> None:
    table = findings(60)
    folds = make_folds(table, few(count=4, repeats=3), seed=1)
    assert folds.folds == list(range(12))
    assert len(folds.table) == 3 * len(table)
    for repeat in range(3):
        held_out = [folds.parts(4 * repeat + k).outer for k in range(4)]
        assert sorted(np.concatenate(held_out)) == list(range(len(table)))
    for fold in folds.folds:
        parts = folds.parts(fold)
        sides = [set(table["patient_id"].iloc[rows]) for rows in vars(parts).values()]
        assert sum(map(len, sides)) == len(set.union(*sides))
        assert sum(map(len, vars(parts).values())) == len(table)
    by_repeat = [set(map(tuple, [folds.parts(4 * r + k).outer for k in range(4)])) for r in (0, 1)]
    assert not by_repeat[0] & by_repeat[1]
    once = make_folds(table, few(count=4), seed=1)
    for fold in once.folds:
        np.testing.assert_array_equal(once.parts(fold).train, folds.parts(fold).train)
    folds.save(tmp_path / "folds.csv")
    again = make_folds(table, few(kind="file", path=tmp_path / "folds.csv"), seed=9)
    pd.testing.assert_frame_equal(again.table, folds.table)
    assert audit_folds(table, folds, allow_shared_patients=False).ok
    broken = folds.table.assign(fold=folds.table["fold"] % 4)
    broken.to_csv(tmp_path / "broken.csv", index=False)
    with pytest.raises(FoldsError, match="fold 0 stands in several repeats"):
        make_folds(table, few(kind="file", path=tmp_path / "broken.csv"), seed=9)


def test_a_fixed_part_of_the_patients_is_held_out() -> None:
    table = findings(100)
    folds = make_folds(table, few(kind="holdout", holdout_fraction=0.25), seed=3)
    assert folds.folds == [0]
    parts = folds.parts(0)
    assert len(parts.outer) == pytest.approx(75, abs=6)
    assert not patients_of(folds, parts.outer) & patients_of(folds, parts.train)
    again = make_folds(table, few(kind="holdout", holdout_fraction=0.25), seed=3)
    pd.testing.assert_frame_equal(folds.table, again.table)


def test_too_few_patients_or_one_label_is_an_error() -> None:
    with pytest.raises(FoldsError, match="expected at least 5 for 5 pieces"):
        make_folds(findings(4), few(count=5), seed=0)
    one = findings().assign(label=0)
    with pytest.raises(FoldsError, match="0 patients with a finding of label 1"):
        make_folds(one, few(count=2), seed=0)


def test_the_audit_finds_what_was_planted() -> None:
    table = findings()
    folds = make_folds(table, few(count=4), seed=0)
    assert audit_folds(table, folds, allow_shared_patients=False).ok
    fold = folds.table["fold"]
    a, b = fold.index[fold == 0][0], fold.index[fold == 1][0]
    twin = table.copy()
    twin.loc[b, "content_hash"] = twin.loc[a, "content_hash"]
    found = audit_folds(twin, folds, allow_shared_patients=False)
    assert [c["check"] for c in found.leaks] == ["identical patches"]
    assert found.patients_ok
    moved = folds.table.copy()
    moved.loc[b, "patient_id"] = moved.loc[a, "patient_id"]
    leaky = Folds(moved, "file")
    found = audit_folds(table, leaky, allow_shared_patients=True)
    assert not found.patients_ok
    assert moved.loc[a, "patient_id"] in found.checks[0]["found"]


def test_a_column_that_is_called_part_is_not_taken_for_a_published_split(tmp_path: Path) -> None:
    table = findings(60).assign(part=np.resize(["upper", "lower"], 180))
    folds = make_folds(table, few(kind="holdout"), seed=0)
    assert len(folds.parts(0).outer) == pytest.approx(36, abs=6)
    nothing = folds.table.assign(fold=-1)
    nothing.to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(FoldsError, match="holds out no finding"):
        make_folds(table, few(kind="file", path=tmp_path / "folds.csv"), seed=0)


def test_a_stopping_part_and_rotating_inner_pieces_are_disjoint_and_read_back(
    tmp_path: Path,
) -> None:
    table = findings(120)
    folds = make_folds(table, few(count=3, stop_fraction=0.15), seed=2, stopping=True, pieces=3)
    assert list(folds.trainings()) == [(f, p) for f in range(3) for p in range(3)]
    for fold in folds.folds:
        pieces = []
        for piece in range(3):
            parts = folds.parts(fold, piece)
            sides = [patients_of(folds, rows) for rows in vars(parts).values()]
            assert all(sides)
            assert len(set.union(*sides)) == sum(map(len, sides)) == 120
            assert len(sides[1]) == pytest.approx(0.15 * 80, abs=4)
            pieces.append(sides[2])
        assert not pieces[0] & pieces[1]
        assert not pieces[1] & pieces[2]
    folds.save(tmp_path / "folds.csv")
    settings = few(kind="file", path=tmp_path / "folds.csv")
    again = make_folds(table, settings, seed=7, stopping=True, pieces=3)
    pd.testing.assert_frame_equal(again.table, folds.table)
    loaded = Folds.load(tmp_path / "folds.csv", 3)
    for fold, piece in folds.trainings():
        for one, other in zip(
            vars(folds.parts(fold, piece)).values(),
            vars(loaded.parts(fold, piece)).values(),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


def test_findings_without_a_label_train_only_beside_their_own_patient() -> None:
    table = findings(60)
    table["label"] = table["label"].astype("Int64").mask(np.arange(len(table)) % 3 == 0)
    folds = make_folds(table, few(count=3), seed=0)
    unlabelled = table["label"].isna().to_numpy()
    assert (folds.table["fold"][unlabelled] == -1).all()
    for fold in folds.folds:
        parts = folds.parts(fold)
        assert not unlabelled[parts.inner].any()
        assert not unlabelled[parts.outer].any()
        assert unlabelled[parts.train].any()
        trained = patients_of(folds, parts.train)
        assert not trained & patients_of(folds, parts.outer)
        assert not trained & patients_of(folds, parts.inner)


def test_too_few_findings_of_a_label_for_what_is_asked_are_refused_with_the_number() -> None:
    table = findings(60)
    table["label"] = (np.arange(len(table)) % 12 == 0).astype(int)
    with pytest.raises(
        FoldsError, match=r"inner part has \d positive findings, at least 5 are needed"
    ):
        make_folds(table, FoldsConfig(count=3), seed=0)


def test_sites_are_held_out_in_turn_and_small_ones_train_only() -> None:
    table = findings(90)
    # A patient seen at two sites: never on both sides.
    site = np.repeat(np.arange(90) % 3, 3).astype(object)
    names = np.array(["Siemens", "GE", "Philips"], dtype=object)
    table["maker"] = names[site.astype(int)]
    table.loc[:1, "maker"] = ["GE", ""]
    table.loc[3:5, "maker"] = "Rare"
    folds = make_folds(table, few(kind="column", column="maker", least_of_each_label=4), seed=0)
    assert folds.folds == [0, 1, 2]
    for fold, name in enumerate(("GE", "Philips", "Siemens")):
        parts = folds.parts(fold)
        assert set(table["maker"].iloc[parts.outer]) == {name}
        assert name not in set(table["maker"].iloc[parts.train])
        assert not patients_of(folds, parts.train) & patients_of(folds, parts.outer)
    assert any("Rare" in n and "training only" in n for n in folds.notes)
    assert any("1 findings have no maker" in n for n in folds.notes)
    with pytest.raises(FoldsError, match="'site' is no column"):
        make_folds(table, few(kind="column", column="site"), seed=0)


def test_later_patients_are_held_out() -> None:
    table = findings(80)
    year = 2005 + np.repeat(np.arange(80) % 8, 3)
    table["date"] = [f"{y}0630" if i % 2 else f"{y}-06-30" for i, y in enumerate(year)]
    # Its first scan decides where a patient is.
    table.loc[0, "date"] = "2011-01-01"
    folds = make_folds(table, few(kind="dates", column="date", since=2010), seed=0)
    assert folds.folds == [0]
    parts = folds.parts(0)
    assert (year[parts.outer] >= 2010).all()
    assert (year[parts.train] < 2010).all()
    assert 0 in parts.train or 0 in parts.inner
    with pytest.raises(FoldsError, match=r"finding 'f7' has date=.soon., expected a date"):
        make_folds(
            table.assign(date=[*table["date"][:7], "soon", *table["date"][8:]]),
            few(kind="dates", column="date", since="2010-01-01"),
            seed=0,
        )
