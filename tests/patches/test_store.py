"""The store on disk: found by its folder, opened fast, and every planted damage is named."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from nodulenet.cli.store import store as store_verb
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.errors import StoreError, UsageError
from nodulenet.patches.store import (
    PatchStore,
    StoreWriter,
    UnitResult,
    content_hash,
    find_store,
    journal_path,
    shard_path,
)
from nodulenet.patches.store_check import check_store, store_montage, summarize_store
from nodulenet.patches.values import Values

SPEC = PatchSpec(form="3d", size=(5, 6, 6), spacing_mm=(1.0, 1.0, 2.0), margin_voxels=1)


def make_store(folder: Path, spec: PatchSpec = SPEC, scans: int = 4, each: int = 3) -> PatchStore:
    """Scans of noise; the label of every third finding is 1, of the last unknown."""
    rng = np.random.default_rng(0)
    writer = StoreWriter(folder, spec, Values(), {"kind": "test", "findings": scans * each})
    results, ids = [], []
    for scan in range(scans):
        names = tuple(f"f{scan}-{i}" for i in range(each))
        patches = rng.integers(-1000, 200, (each, *spec.stored_shape)).astype(np.int16)
        result = UnitResult(f"1.2.{scan}", names, tuple(map(content_hash, patches)))
        writer.write(result, patches)
        results.append(result)
        ids += names
    labels = pd.array([int(i % 3 == 0) for i in range(len(ids))], dtype="Int64")
    labels[-1] = pd.NA
    scan_ids = np.repeat([f"1.2.{s}" for s in range(scans)], each)
    table = pd.DataFrame(
        {
            "finding_id": ids,
            "scan_id": scan_ids,
            "patient_id": [f"p{s.split('.')[-1] in '01'}" for s in scan_ids],
            "label": labels,
        }
    )
    return writer.finish(table, results, [{"what": "finding x", "error": "outside"}])


@pytest.fixture
def store(tmp_path: Path) -> PatchStore:
    return make_store(tmp_path / "run" / "store" / "3d-5x6x6-abcd")


def test_a_whole_store_has_no_problems_and_a_summary(store: PatchStore) -> None:
    assert check_store(store) == []
    facts = summarize_store(store)
    sizes = sum(f.stat().st_size for f in store.path.rglob("*") if f.is_file())
    assert facts["labels"] == {"positive": 4, "negative": 7, "unlabelled": 1}
    assert (facts["patches"], facts["scans"], facts["patients"]) == (12, 4, 2)
    assert (facts["bytes"], facts["failures"]) == (sizes, 1)
    json.dumps(facts)


def save(file: Path, array: Any) -> None:
    np.save(file, array, allow_pickle=False)


def change_voxel(file: Path) -> None:
    array = np.load(file)
    array[1, 2, 3, 4] += 1
    save(file, array)


def change_index(store: PatchStore, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(store.path / "index.parquet")).to_parquet(store.path / "index.parquet")


def edit_journal(file: Path) -> None:
    entry = json.loads(file.read_text())
    file.write_text(json.dumps(entry | {"hashes": entry["hashes"][::-1]}))


class Place(NamedTuple):
    """A store, and the shard and journal of one of its units."""

    store: PatchStore
    shard: Path
    journal: Path


DAMAGES: dict[str, tuple[Callable[[Place], Any], list[str]]] = {
    "no shard": (
        lambda at: at.shard.unlink(),
        ["{shard}: shard cannot be read ([Errno 2] No such file or directory: '{shard}'); {again}"],
    ),
    "cut short": (
        lambda at: at.shard.write_bytes(at.shard.read_bytes()[:300]),
        ["{shard}: shard cannot be read (mmap length is greater than file size); {again}"],
    ),
    "one voxel": (
        lambda at: change_voxel(at.shard),
        [
            "{shard}: 1 of 3 patches are not what was stored (content hash differs), the first of "
            "finding f1-1; {again}"
        ],
    ),
    "another shape": (
        lambda at: save(at.shard, np.zeros((3, 4, 4, 4), np.int16)),
        ["{shard}: holds int16 patches of (4, 4, 4), expected int16 of (7, 8, 8); {again}"],
    ),
    "another type": (
        lambda at: save(at.shard, np.load(at.shard).astype(np.float32)),
        ["{shard}: holds float32 patches of (7, 8, 8), expected int16 of (7, 8, 8); {again}"],
    ),
    "too few": (
        lambda at: save(at.shard, np.load(at.shard)[:2]),
        ["{shard}: holds 2 patches, the index names 3 up to row 2; {again}"],
    ),
    "too many": (
        lambda at: save(at.shard, np.load(at.shard)[[0, 1, 2, 2]]),
        ["{shard}: holds 4 patches, the index names 3 up to row 2; {again}"],
    ),
    "no journal": (
        lambda at: at.journal.unlink(),
        ["{journal}: journal is missing or cannot be read; {again}"],
    ),
    "damaged journal": (
        lambda at: at.journal.write_text("{"),
        ["{journal}: journal is missing or cannot be read; {again}"],
    ),
    "journal of other hashes": (
        lambda at: edit_journal(at.journal),
        ["{journal}: names other findings or hashes than the index; {again}"],
    ),
    "orphan": (
        lambda at: at.shard.with_name("zz.npy").write_bytes(b""),
        ["{store}/shards/zz.npy: belongs to no patch of the index; remove it, or run {orphan}"],
    ),
    "left by a killed run": (
        lambda at: at.shard.with_name(".zz.npy").write_bytes(b""),
        ["{store}/shards/.zz.npy: belongs to no patch of the index; remove it, or run {orphan}"],
    ),
    "failures": (
        lambda at: (at.store.path / "failures.json").write_text("[{"),
        [
            "{store}/failures.json: cannot be read (Expecting property name enclosed in double "
            "quotes: line 1 column 3 (char 2)); expected a JSON list; {again}"
        ],
    ),
    "a finding twice": (
        lambda at: change_index(
            at.store, lambda t: t.assign(finding_id=t["finding_id"].replace("f0-1", "f0-0"))
        ),
        [
            "{store}/index.parquet: finding ['f0-0'] is there 2 times; expected once; {again}",
            "{journal0}: names other findings or hashes than the index; {again}",
        ],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_named(damage: str, store: PatchStore) -> None:
    act, expected = DAMAGES[damage]
    at = Place(store, shard_path(store.path, "1.2.1"), journal_path(store.path, "1.2.1"))
    act(at)
    words = {
        "store": store.path,
        "shard": at.shard,
        "journal": at.journal,
        "journal0": journal_path(store.path, "1.2.0"),
        "again": "remove it and run `nodulenet prepare` again",
        "orphan": "`nodulenet prepare` again with the scan in its place",
    }
    assert check_store(PatchStore(store.path)) == [text.format(**words) for text in expected]


def test_a_store_is_found_by_its_folder(store: PatchStore, tmp_path: Path) -> None:
    assert find_store(store.path).path == store.path
    assert find_store(store.path.parent).path == store.path
    make_store(store.path.parent / "3d-5x6x6-ef01")
    with pytest.raises(StoreError, match=r"holds 2 stores \(3d-5x6x6-abcd, 3d-5x6x6-ef01\)"):
        find_store(store.path.parent)
    for nothing in (tmp_path, tmp_path / "gone", store.path / "store.json"):
        with pytest.raises(StoreError, match="is no patch store"):
            find_store(nothing)


@pytest.mark.parametrize("cut", [0, 3, 100])
def test_a_damaged_index_is_an_error_when_the_store_is_opened(cut: int, store: PatchStore) -> None:
    file = store.path / "index.parquet"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(StoreError, match=r"index\.parquet: cannot be read .*; remove it and run"):
        PatchStore(store.path)


def test_an_index_without_its_columns_is_an_error(store: PatchStore) -> None:
    change_index(store, lambda t: t.drop(columns="shard_row"))
    with pytest.raises(StoreError, match=r"cannot be read \(no column 'shard_row'\)"):
        PatchStore(store.path)


def test_750_000_patches_open_in_under_a_second(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", scans=1)
    count = 750_000
    rng = np.random.default_rng(0)
    numbers = rng.integers(10**17, 10**18, 888).astype(str)
    scans = np.char.add("1.3.6.1.4.1.14519.5.2.1.6279.6001.", numbers)
    of = np.sort(rng.integers(0, 888, count))
    hashes = np.char.add("0123456789abcdef", rng.integers(10**15, 10**16, count).astype(str))
    pd.DataFrame(
        {
            "finding_id": [f"candidate-{i}" for i in range(count)],
            "scan_id": scans[of],
            "patient_id": scans[of],
            **{f"{a}_lps_mm": rng.normal(size=count) for a in "xyz"},
            "diameter_mm": rng.normal(size=count),
            "label": pd.array(rng.integers(0, 2, count), dtype="Int64"),
            "subset": of % 10,
            "shard": scans[of],
            "shard_row": np.arange(count) % 850,
            "content_hash": hashes,
        }
    ).to_parquet(store.path / "index.parquet", index=False)
    begin = time.perf_counter()
    opened = PatchStore(store.path)
    seconds = time.perf_counter() - begin
    assert len(opened) == count
    assert seconds < 0.2, "opening reads no more than the index' footer"
    begin = time.perf_counter()
    assert opened.index["finding_id"].iloc[-1] == f"candidate-{count - 1}"
    assert seconds + time.perf_counter() - begin < 3  # 0.3 s where nobody else computes


SPECS = {
    "3d": SPEC,
    "2d": PatchSpec(form="2d", size=(6, 8), spacing_mm=(0.7, 0.9), margin_voxels=1),
    "2.5d": PatchSpec(form="2.5d", size=(6, 6), margin_voxels=1),
}


@pytest.mark.parametrize("form", SPECS)
def test_the_montage_shows_the_axial_plane_of_each_label(form: str, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", SPECS[form])
    axes = [ax for ax in store_montage(store, each=3).axes if ax.images]
    titles = [ax.get_title() for ax in axes]
    assert titles == [
        *("positive\nf0-0", "positive\nf2-0", "positive\nf3-0"),
        *("negative\nf0-1", "negative\nf1-2", "negative\nf3-1"),
        "unlabelled\nf3-2",
    ]
    first = store.patches([0])[0]
    plane = {"3d": lambda p: p[len(p) // 2], "2d": lambda p: p, "2.5d": lambda p: p[0]}[form](first)
    np.testing.assert_array_equal(np.asarray(axes[0].images[0].get_array()), plane)


def run_verb(*arguments: Any) -> Any:
    app = typer.Typer()
    app.command()(store_verb)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_verb_prints_a_summary_for_people_and_for_programs(store: PatchStore) -> None:
    done = run_verb(store.path.parent)
    assert done.exit_code == 0
    assert "12 of 4 scans, 2 patients" in done.stdout
    assert "4 positive" in done.stdout
    done = run_verb(store.path, "--check", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == summarize_store(store) | {"problems": []}


def test_the_verb_ends_with_3_when_something_is_wrong(store: PatchStore) -> None:
    shard_path(store.path, "1.2.0").unlink()
    journal_path(store.path, "1.2.2").unlink()
    done = run_verb(store.path, "--check")
    assert done.exit_code == 3
    assert len([n for n in done.stdout.splitlines() if n.startswith("problem: ")]) == 2
    assert "2 problems" in done.stdout
    assert run_verb(store.path).exit_code == 0


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_the_verb_draws_the_same_file_each_time(
    ending: str, store: PatchStore, tmp_path: Path
) -> None:
    files = [tmp_path / f"{name}{ending}" for name in "ab"]
    for file in files:
        assert run_verb(store.path, "--montage", file).exit_code == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    if ending == ".png":
        picture = np.asarray(Image.open(files[0]).convert("L"))
        assert picture.std() > 10
    else:
        assert "unlabelled" in files[0].read_text()
    assert {f.name for f in tmp_path.iterdir()} == {"run", *(f.name for f in files)}


def test_the_verb_refuses_another_picture(store: PatchStore) -> None:
    done = run_verb(store.path, "--montage", "out.jpg")
    assert isinstance(done.exception, UsageError)
    assert "ends with .jpg; expected .png or .svg" in str(done.exception)
