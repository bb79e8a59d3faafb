"""The data set on disk: LUNA16's layout to the letter, repeatable, and resumed after a stop."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK

from nodulenet.errors import DataError, UsageError
from nodulenet.phantom import PhantomDataset, generate_phantom, make_scan
from nodulenet.phantom import generate as generate_module

Digests = Callable[[Path], dict[str, bytes]]
TINY = (32, 64, 64)


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"seriesuid": str})


def test_layout(phantom: PhantomDataset) -> None:
    folders = sorted(path.name for path in phantom.path.iterdir() if path.is_dir())
    assert folders == [f"subset{n}" for n in range(10)]
    found = {path.stem: path.parent.name for path in phantom.path.glob("subset*/*.mhd")}
    assert sorted(found) == sorted(phantom.series_uids)
    assert len(found) == 20
    assert {path.stem for path in phantom.path.glob("subset*/*.raw")} == set(found)
    sizes = np.unique(list(found.values()), return_counts=True)[1]
    assert len(sizes) == 10
    assert sizes.max() <= 3
    patients = _table(phantom.patients)
    patients["subset"] = patients["seriesuid"].map(found)
    assert patients["patient_id"].nunique() == 18
    assert (patients.groupby("patient_id")["subset"].nunique() == 1).all()
    balance = patients.drop_duplicates("patient_id")["subset"].value_counts()
    assert set(balance) == {1, 2}


def test_tables_have_the_form_of_luna16(phantom: PhantomDataset) -> None:
    headers = {
        "annotations.csv": "seriesuid,coordX,coordY,coordZ,diameter_mm",
        "annotations_excluded.csv": "seriesuid,coordX,coordY,coordZ,diameter_mm",
        "candidates_V2.csv": "seriesuid,coordX,coordY,coordZ,class",
    }
    for name, header in headers.items():
        content = (phantom.path / name).read_bytes()
        assert b"\r" not in content
        assert content.endswith(b"\n")
        assert content.decode("ascii").split("\n")[0] == header
        table = _table(phantom.path / name)
        assert not table.isna().any().any()
        assert set(table["seriesuid"]) <= set(phantom.series_uids)
    lines = (phantom.path / "seriesuids.csv").read_text(encoding="ascii").splitlines()
    assert tuple(lines) == phantom.series_uids
    assert all(re.fullmatch(r"2\.25\.\d{30,39}", line) for line in lines)
    excluded = _table(phantom.path / "annotations_excluded.csv")["diameter_mm"]
    assert (excluded == -1).any()
    assert (excluded > 0).any()
    with (phantom.path / "annotations_excluded.csv").open() as file:
        assert {row["diameter_mm"] for row in csv.DictReader(file)} >= {"-1"}
    candidates = _table(phantom.candidates)
    assert set(candidates["class"]) == {0, 1}
    annotations = _table(phantom.annotations)
    assert annotations["diameter_mm"].between(4, 25).all()


def test_the_tables_agree_with_the_scans(phantom: PhantomDataset) -> None:
    annotations, candidates = _table(phantom.annotations), _table(phantom.candidates)
    place = ["coordX", "coordY", "coordZ"]
    for uid in phantom.series_uids:
        (path,) = phantom.path.glob(f"subset*/{uid}.mhd")
        image = SimpleITK.ReadImage(str(path))
        size = np.array(image.GetSize())
        nodules = annotations[annotations["seriesuid"] == uid]
        centres, radii = nodules[place].to_numpy(), nodules["diameter_mm"].to_numpy() / 2
        for row in candidates[candidates["seriesuid"] == uid].itertuples():
            point = [row.coordX, row.coordY, row.coordZ]
            index = np.array(image.TransformPhysicalPointToContinuousIndex(point))
            assert ((index >= -0.5) & (index <= size - 0.5)).all()
            within = (np.linalg.norm(centres - point, axis=1) < radii).any()
            assert within == (row[5] == 1)


def test_extra_tables_repeat_the_official_rows(phantom: PhantomDataset) -> None:
    official, extra = _table(phantom.annotations), _table(phantom.nodules)
    pd.testing.assert_frame_equal(extra[official.columns.tolist()], official)
    assert set(extra["texture"]) <= {"solid", "part-solid", "ground-glass"}
    assert set(extra["margin"]) <= {"smooth", "lobulated", "spiculated"}
    assert set(extra["attachment"]) <= {"isolated", "vessel", "pleura"}
    assert extra["malignancy"].between(1, 5).all()
    patients = _table(phantom.patients).set_index("seriesuid")["patient_id"]
    assert (extra["seriesuid"].map(patients) == extra["patient_id"]).all()
    kinds = _table(phantom.path / "candidate_kinds.csv")
    candidates = _table(phantom.candidates)
    pd.testing.assert_frame_equal(kinds[candidates.columns.tolist()], candidates)
    assert ((kinds["kind"] == "nodule") == (kinds["class"] == 1)).all()


def test_a_scan_does_not_depend_on_how_many_there_are(
    tmp_path: Path, digests: Digests, phantom: PhantomDataset
) -> None:
    three = generate_phantom(tmp_path / "p", scans=3, seed=7, shape=(48, 96, 96), negatives=15)
    assert three.series_uids == phantom.series_uids[:3]
    for uid in three.series_uids:
        (path,) = three.path.glob(f"subset*/{uid}.raw")
        same = phantom.path / path.relative_to(three.path)
        assert path.read_bytes() == same.read_bytes()
        header = path.with_suffix(".mhd").read_bytes()
        assert header == same.with_suffix(".mhd").read_bytes()
    scan = make_scan(7, 1, shape=(48, 96, 96), negatives=15)
    (path,) = three.path.glob(f"subset*/{scan.series_uid}.mhd")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)), scan.hu)


def test_equal_arguments_give_equal_bytes_in_every_format(tmp_path: Path, digests: Digests) -> None:
    options = {"scans": 2, "seed": 3, "shape": TINY, "negatives": 4}
    formats = ("metaimage", "dicom", "nifti")
    for name in ("a", "b"):
        generate_phantom(tmp_path / name, formats=formats, **options)  # type: ignore[arg-type]
    first, second = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert first == second
    assert sum(name.endswith(".dcm") for name in first) == 64
    assert sum(name.endswith(".nii.gz") for name in first) == 2


def test_a_stopped_run_goes_on_and_finished_scans_are_kept(
    tmp_path: Path, digests: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"scans": 4, "seed": 3, "shape": TINY, "negatives": 4}
    whole = generate_phantom(tmp_path / "whole", **options)  # type: ignore[arg-type]
    assert (whole.written, whole.skipped) == (4, 0)
    made: list[int] = []

    def stop_at_third(seed: int, index: int, **arguments: object) -> object:
        if index == 2 and len(made) < 3:
            raise KeyboardInterrupt
        made.append(index)
        return make_scan(seed, index, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(generate_module, "make_scan", stop_at_third)
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        generate_phantom(out, **options)  # type: ignore[arg-type]
    assert len(list(out.glob("subset*/*.mhd"))) == 2
    assert not (out / "annotations.csv").exists()
    # One scan lost its header: not complete, so it is made again.
    next(out.glob(f"subset*/{whole.series_uids[0]}.mhd")).unlink()
    # What a killed run leaves under a temporary name does not count.
    (out / "subset2" / f".{whole.series_uids[2]}.raw.part").write_bytes(b"cut short")
    before = next(out.glob(f"subset*/{whole.series_uids[1]}.raw")).stat().st_mtime_ns
    made += [-1]
    resumed = generate_phantom(out, **options)  # type: ignore[arg-type]
    assert made == [0, 1, -1, 0, 2, 3]
    assert (resumed.written, resumed.skipped) == (3, 1)
    assert next(out.glob(f"subset*/{whole.series_uids[1]}.raw")).stat().st_mtime_ns == before
    assert digests(out) == digests(whole.path)
    again = generate_phantom(out, **options)  # type: ignore[arg-type]
    assert (again.written, again.skipped) == (0, 4)
    assert len(made) == 6


def test_another_phantom_in_the_folder_is_refused(tmp_path: Path) -> None:
    generate_phantom(tmp_path / "p", scans=1, seed=3, shape=TINY, negatives=4)
    with pytest.raises(UsageError, match=r"seed: 3 there, 4 asked"):
        generate_phantom(tmp_path / "p", scans=1, seed=4, shape=TINY, negatives=4)
    record = tmp_path / "p" / "phantom.json"
    found = json.loads(record.read_text())
    record.write_text(json.dumps({**found, "version": 0}))
    with pytest.raises(UsageError, match=r"version: 0 there"):
        generate_phantom(tmp_path / "p", scans=1, seed=3, shape=TINY, negatives=4)
    record.write_text("{")
    with pytest.raises(DataError, match=r"phantom\.json"):
        generate_phantom(tmp_path / "p", scans=1, seed=3, shape=TINY, negatives=4)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "annotations.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty and holds no phantom\.json"):
        generate_phantom(tmp_path, scans=1, shape=TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["annotations.csv"]
    with pytest.raises(UsageError, match="is not a folder"):
        generate_phantom(tmp_path / "annotations.csv", scans=1, shape=TINY)


@pytest.mark.parametrize(
    ("argument", "message"),
    [({"scans": 0}, "'scans'"), ({"formats": ("nrrd",)}, "'formats'"), ({"formats": ()}, "'form")],
)
def test_arguments_out_of_range_write_nothing(
    tmp_path: Path, argument: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        generate_phantom(tmp_path / "p", **argument)  # type: ignore[arg-type]
    assert not (tmp_path / "p").exists()


def test_progress_counts_every_scan(tmp_path: Path) -> None:
    from collections.abc import Iterator
    from contextlib import contextmanager

    seen: list[object] = []

    class Recorder:
        @contextmanager
        def task(self, title: str, total: int, unit: str) -> Iterator[Recorder]:
            assert title
            seen.append((total, unit))
            yield self

        def advance(self, count: int = 1, note: str = "") -> None:
            assert isinstance(note, str)
            seen.append(count)

        def say(self, text: str) -> None:
            pass

    generate_phantom(tmp_path, scans=2, shape=TINY, negatives=2, progress=Recorder())
    assert seen == [(2, "scans"), 1, 1]
