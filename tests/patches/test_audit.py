"""The audit: each planted leak is found by its check, and a clean store passes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import typer
from scipy import ndimage
from typer.testing import CliRunner

from nodulenet.cli.audit import audit as audit_verb
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Config, FoldsConfig
from nodulenet.errors import FoldsError, RunError, StoreError
from nodulenet.patches.audit import PAIR_COLUMNS, Audit, audit_folds, audit_store
from nodulenet.patches.folds import Folds, make_folds
from nodulenet.patches.store import PatchStore, StoreWriter, UnitResult, content_hash
from nodulenet.patches.values import Values
from nodulenet.training.audit import audit_run
from nodulenet.training.run import Run

Patches = npt.NDArray[np.int16]
SPEC = PatchSpec(form="3d", size=(12, 12, 12), margin_voxels=2)
PATIENTS, EACH = 24, 2
CHECKS = [
    "patients",
    "series",
    "identical patches",
    "near-identical patches",
    "close findings",
    "label conflicts",
    "patches without content",
]

# Small tables have few findings of each label.
few = partial(FoldsConfig, least_of_each_label=1)


def clean_patches(seed: int = 0) -> Patches:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(PATIENTS * EACH, *SPEC.stored_shape))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2, 2))
    return np.asarray(np.clip(-700 + 300 * smooth / smooth.std(), -1024, 400), dtype=np.int16)


def clean_table() -> pd.DataFrame:
    rows = PATIENTS * EACH
    patient = np.repeat(np.arange(PATIENTS), EACH)
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "finding_id": [f"f{i}" for i in range(rows)],
            "scan_id": [f"s{p}" for p in patient],
            "patient_id": [f"p{p}" for p in patient],
            "x_lps_mm": np.arange(rows) * 20.0,
            "y_lps_mm": rng.normal(size=rows),
            "z_lps_mm": rng.normal(size=rows),
            "diameter_mm": 8.0,
            "label": np.arange(rows) % 2,
        }
    )


def fill(folder: Path, patches: Patches, table: pd.DataFrame) -> PatchStore:
    writer = StoreWriter(folder, SPEC, Values(), {"kind": "test"})
    results = []
    for unit in range(0, len(table), 7):  # findings of a shard need not be of one scan
        part = slice(unit, unit + 7)
        ids = tuple(table["finding_id"].iloc[part])
        hashes = tuple(content_hash(p) for p in patches[part])
        result = UnitResult(f"unit {unit}", ids, hashes)
        writer.write(result, patches[part])
        results.append(result)
    return writer.finish(table, results)


def split(table: pd.DataFrame) -> Folds:
    return make_folds(table, few(count=4, inner_fraction=0.34), seed=0)


def audited(
    folder: Path, patches: Patches, table: pd.DataFrame, folds: Folds | None = None
) -> Audit:
    store = fill(folder, patches, table)
    return audit_folds(store.index, folds or split(table), allow_shared_patients=True, store=store)


def failing(found: Audit) -> list[str]:
    return [c["check"] for c in found.checks if not c["ok"]]


def across(folds: Folds, *, same_label: bool = True) -> tuple[int, int]:
    """Two rows of different patients in different folds."""
    table = folds.table
    for a in range(len(table)):
        for b in range(a + 1, len(table)):
            x, y = table.iloc[a], table.iloc[b]
            if x["fold"] != y["fold"] and (x["label"] == y["label"]) == same_label:
                return a, b
    raise AssertionError


def test_a_clean_store_passes(tmp_path: Path) -> None:
    table = clean_table()
    found = audited(tmp_path, clean_patches(), table)
    assert [c["check"] for c in found.checks] == CHECKS
    assert found.ok
    assert found.patients_ok
    assert not found.leaks
    assert list(found.pairs.columns) == list(PAIR_COLUMNS)
    assert found.pairs.empty
    json.dumps(found.checks)  # they go into the manifest
    assert audit_store(PatchStore(tmp_path)).ok


def test_a_patient_on_two_sides_is_found(tmp_path: Path) -> None:
    table = clean_table()
    folds = split(table)
    leaky = folds.table.copy()
    leaky.loc[0, "fold"] = (leaky.loc[0, "fold"] + 1) % 4
    found = audited(tmp_path, clean_patches(), table, Folds(leaky, "file"))
    assert failing(found) == ["patients", "series"]
    assert not found.patients_ok
    assert "1 patients stand on two sides" in found.checks[0]["found"]
    assert "p0" in found.checks[0]["found"]
    store = PatchStore(tmp_path)
    # Without leave to share patients their other findings are in no part at all.
    strict = audit_folds(
        store.index, Folds(leaky, "file"), allow_shared_patients=False, store=store
    )
    assert strict.ok


def test_a_duplicate_patch_is_found(tmp_path: Path) -> None:
    table, patches = clean_table(), clean_patches()
    a, b = across(split(table))
    patches[b] = patches[a]
    found = audited(tmp_path, patches, table)
    assert failing(found) == ["identical patches"]
    assert found.patients_ok
    row = found.pairs.iloc[0]
    assert {row["first"], row["second"]} == {f"f{a}", f"f{b}"}
    assert row["first_side"] != row["second_side"]
    text = found.leaks[0]["found"]
    assert f"f{a} of patient" in text
    assert f"f{b} of patient" in text


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_shifted_and_noisy_duplicate_is_found(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table, patches = clean_table(), clean_patches()
    a, b = across(split(table))
    wide = np.pad(patches[a], 1, mode="reflect")
    z, y, x = rng.integers(0, 3, 3)
    twin = wide[z : z + 16, y : y + 16, x : x + 16][:, ::-1]
    twin = np.rot90(twin, seed, [(0, 1), (1, 2), (0, 2)][seed % 3])
    patches[b] = np.rint(twin + rng.normal(0, 8, twin.shape))
    found = audited(tmp_path, patches, table)
    assert failing(found) == ["near-identical patches"]
    assert found.patients_ok
    pair = found.pairs.iloc[0]
    assert {pair["first"], pair["second"]} == {f"f{a}", f"f{b}"}
    assert pair["rms"] == pytest.approx(8, abs=1)


@pytest.mark.parametrize(
    "sides", [("train", "outer"), ("inner", "outer"), ("train", "inner"), ("train", "train")]
)
def test_every_pair_of_sides_is_looked_at(tmp_path: Path, sides: tuple[str, str]) -> None:
    """One fold: both of a pair inside one part are no leak."""
    table, patches = clean_table(), clean_patches()
    folds = make_folds(
        table.assign(part=np.repeat(["train", "val", "test"], [24, 12, 12])),
        FoldsConfig(kind="holdout"),
        seed=0,
    )
    parts = vars(folds.parts(0))
    a = int(parts[sides[0]][0])
    b = int(next(i for i in parts[sides[1]] if i - a > 1 and (i - a) % 2 == 0))
    patches[b] = patches[a][::-1]
    found = audited(tmp_path, patches, table, folds)
    assert failing(found) == ([] if sides[0] == sides[1] else ["near-identical patches"])
    if found.leaks:
        pair = found.pairs.iloc[0]
        assert {pair["first_side"], pair["second_side"]} == set(sides)
        assert pair["fold"] == 0


def test_one_patients_own_near_duplicates_are_no_leak(tmp_path: Path) -> None:
    table, patches = clean_table(), clean_patches()
    table["label"] = np.repeat(np.arange(PATIENTS) % 2, EACH)
    patches[1] = patches[0][::-1]
    patches[3] = patches[2]
    assert audited(tmp_path, patches, table).ok
    found = audit_store(PatchStore(tmp_path))
    assert found.ok
    assert sorted(found.pairs["check"]) == ["identical patches", "near-identical patches"]
    assert sum("1 pairs within one patient" in c["found"] for c in found.checks) == 2


def test_patches_without_content_are_no_leak_but_told(tmp_path: Path) -> None:
    table, patches = clean_table(), clean_patches()
    a, b = across(split(table))
    patches[[a, b]] = -1024
    found = audited(tmp_path, patches, table)
    assert found.ok
    assert found.checks[-1]["found"] == "2 patches are almost constant and were not compared"
    assert audit_store(PatchStore(tmp_path)).ok


def test_findings_nearer_than_their_radius_on_two_sides_are_found(tmp_path: Path) -> None:
    """One scan under two patients, as a wrong table has it: 4 mm radius, 5 where unknown."""
    table = clean_table()
    a, b = across(split(table))
    table.loc[b, "scan_id"] = table.loc[a, "scan_id"]
    point = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]
    for distance, diameters, close in (
        (3.9, (8.0, 2.0), True),
        (4.1, (8.0, 8.0), False),
        (4.9, (np.nan, 8.0), True),
        (5.1, (np.nan, np.nan), False),
    ):
        table.loc[b, point] = (table.loc[a, point] + [0, 0, distance]).to_numpy()
        table.loc[[a, b], "diameter_mm"] = diameters
        found = audited(tmp_path / str(distance), clean_patches(), table)
        assert ("close findings" in failing(found)) == close, distance
        assert "series" in failing(found)
        if close:
            pair = found.pairs.iloc[0]
            assert pair["distance_mm"] == pytest.approx(distance)


def test_without_points_and_diameters_the_rest_is_audited(tmp_path: Path) -> None:
    table = clean_table().drop(columns=["x_lps_mm", "y_lps_mm", "z_lps_mm", "diameter_mm"])
    assert audited(tmp_path / "a", clean_patches(), table).ok
    table = clean_table().assign(x_lps_mm=np.nan, y_lps_mm=np.nan, z_lps_mm=np.nan)
    assert audited(tmp_path / "b", clean_patches(), table).ok


def test_label_conflicts_are_told_and_are_no_leak(tmp_path: Path) -> None:
    table, patches = clean_table(), clean_patches()
    patches[1] = patches[0]  # identical
    patches[3] = patches[2][:, ::-1]  # near-identical
    point = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]
    table.loc[5, point] = (table.loc[4, point] + [0.6, 0, 0.6]).to_numpy()  # one place
    table.loc[7, point] = (table.loc[6, point] + [0.8, 0, 0.8]).to_numpy()  # 1.1 mm apart
    found = audited(tmp_path, patches, table)
    assert failing(found) == ["label conflicts"]
    assert not found.leaks
    pairs = found.pairs[found.pairs["check"] == "label conflicts"]
    assert {tuple(sorted(p)) for p in pairs[["first", "second"]].to_numpy()} == {
        ("f0", "f1"),
        ("f2", "f3"),
        ("f4", "f5"),
    }
    assert (pairs["first_label"] != pairs["second_label"]).all()
    assert failing(audit_store(PatchStore(tmp_path))) == ["label conflicts"]
    unlabelled = fill(tmp_path / "u", patches, table.assign(label=pd.NA))
    assert audit_store(unlabelled).ok


def test_a_store_alone_tells_what_two_patients_share(tmp_path: Path) -> None:
    table, patches = clean_table(), clean_patches()
    table.loc[1, "scan_id"] = "s0 again"
    table.loc[5, "scan_id"] = table.loc[10, "scan_id"]
    patches[20], patches[30] = patches[8], patches[12][::-1, :, ::-1]
    found = audit_store(fill(tmp_path, patches, table))
    assert failing(found) == ["series", "identical patches", "near-identical patches"]
    text = {c["check"]: c["found"] for c in found.checks}
    assert text["patients"] == "24 patients, 2 of them with several scans: p0"
    assert text["series"].startswith("1 series belong to several patients")
    assert "f8 of patient p4 and f20 of patient p10" in text["identical patches"]
    assert "f12 of patient p6" in text["near-identical patches"]


def test_without_a_store_the_rest_is_audited(tmp_path: Path) -> None:
    table, patches = clean_table(), clean_patches()
    a, b = across(split(table))
    patches[b] = patches[a]
    index = fill(tmp_path, patches, table).index
    found = audit_folds(index, split(table), allow_shared_patients=False)
    assert failing(found) == ["identical patches"]
    with pytest.raises(FoldsError, match="'f0' of the folds is not in the store"):
        audit_folds(index.iloc[1:], split(table), allow_shared_patients=False)


def test_many_equal_and_close_findings_stay_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodulenet.patches.audit.MAX_LISTED", 50)
    table, patches = clean_table(), clean_patches()
    patches[:] = patches[0]
    found = audited(tmp_path, patches, table)
    assert "identical patches" in failing(found)
    assert found.pairs.groupby("check").size().max() <= 50


# --- a run, and the verb ---------------------------------------------------------------------


def make_run(folder: Path, patches: Patches, table: pd.DataFrame, folds: Folds) -> Run:
    """What `train` has written when it begins."""
    table.to_csv(folder / "points.csv", index=False)
    config = Config.model_validate(
        {
            "name": "test",
            "run": str(folder / "run"),
            "label_meaning": "candidate",
            "source": {
                "kind": "points",
                "points": str(folder / "points.csv"),
                "scans": str(folder),
                "space": "lps",
            },
            "patch": SPEC.model_dump(),
            "models": ["squeezenodule_v2_3d"],
        }
    )
    run = Run.of(config)
    run.begin(folds, folds.table)
    run.record("prepare", {"store": "3d", "failures": []})
    fill(run.path / "store" / "3d", patches, table)
    return run


@pytest.fixture
def leaky_run(tmp_path: Path) -> Run:
    table, patches = clean_table(), clean_patches()
    folds = split(table)
    a, b = across(folds)
    patches[b] = patches[a][::-1]
    return make_run(tmp_path, patches, table, folds)


def verb(arguments: Sequence[str | Path]) -> Any:
    app = typer.Typer()
    app.command()(audit_verb)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_run_is_audited_by_its_own_folds(tmp_path: Path, leaky_run: Run) -> None:
    found = audit_run(Run.open(leaky_run.path))
    assert failing(found) == ["near-identical patches"]
    (leaky_run.path / "folds.csv").unlink()
    with pytest.raises(RunError, match=r"has no folds\.csv .* its training has not begun"):
        audit_run(leaky_run)
    (leaky_run.path / "folds.csv").write_text("finding_id,fold\nf0,0\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"folds\.csv: column 'label' is missing"):
        audit_run(leaky_run)


def test_the_verb_has_a_table_json_pairs_and_exit_codes(tmp_path: Path, leaky_run: Run) -> None:
    done = verb([leaky_run.path, "--out", tmp_path / "out"])
    assert done.exit_code == 3
    assert "near-identical patches" in done.stdout
    assert done.stdout.count("LEAK") == 1
    assert all(check in done.stdout for check in CHECKS)
    pairs = pd.read_csv(tmp_path / "out" / "audit_pairs.csv")
    assert list(pairs.columns) == list(PAIR_COLUMNS)
    assert len(pairs) == 1
    verb([leaky_run.path, "--out", tmp_path / "mine.csv"])
    assert pd.read_csv(tmp_path / "mine.csv").equals(pairs)

    done = verb([leaky_run.path, "--json"])
    assert done.exit_code == 3
    content = json.loads(done.stdout)
    assert content["audited"] == "run"
    assert content["leaks"] == 1
    assert [c["check"] for c in content["checks"]] == CHECKS

    clean = tmp_path / "clean"
    fill(clean, clean_patches(), clean_table())
    done = verb([clean])
    assert done.exit_code == 0
    assert "LEAK" not in done.stdout


def test_the_verb_refuses_what_is_neither(tmp_path: Path) -> None:
    for path, state in ((tmp_path, "is no patch store or run"), (tmp_path / "x", "is not there")):
        done = verb([path])
        assert isinstance(done.exception, RunError)
        assert state in str(done.exception)
        assert "\n" not in str(done.exception)
    fill(tmp_path, clean_patches(), clean_table())
    for shard in (tmp_path / "shards").glob("*.npy"):
        shard.write_bytes(b"no array")
    done = verb([tmp_path])
    assert isinstance(done.exception, StoreError)


def test_repeated_folds_are_audited_with_their_store(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    spec = PatchSpec.model_validate(
        {"form": "2d", "size": [24, 24], "margin_voxels": 0, "spacing_mm": 1}
    )
    patches = rng.integers(-1000, 400, (60, 24, 24)).astype(np.int16)
    patches[1] = patches[0]
    ids = tuple(f"f{i}" for i in range(60))
    table = pd.DataFrame(
        {
            "finding_id": ids,
            "patient_id": [f"p{i}" for i in range(60)],
            "scan_id": [f"s{i}" for i in range(60)],
            "label": np.arange(60) // 2 % 2,
        }
    )
    writer = StoreWriter(tmp_path, spec, Values(), {"kind": "test"})
    result = UnitResult("u", ids, tuple(content_hash(p) for p in patches))
    writer.write(result, patches)
    store = writer.finish(table, [result])
    folds = make_folds(table, few(count=3, repeats=4), seed=0)
    found = audit_folds(store.index, folds, allow_shared_patients=False, store=store)
    assert [c["check"] for c in found.leaks] == ["identical patches"]
    assert found.patients_ok
