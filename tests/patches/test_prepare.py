"""Preparation over scans: what is made once stays, what fails is listed, nothing is mixed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nodulenet.cli.terminal import group_failures
from nodulenet.config.schema import Config
from nodulenet.errors import StoreError, UsageError
from nodulenet.patches import disk_space
from nodulenet.patches import prepare as room
from nodulenet.patches.prepare import open_store, prepare, store_folder
from nodulenet.patches.source import load_source
from nodulenet.patches.store import PatchStore, content_hash, shard_path
from nodulenet.patches.store_check import check_store
from nodulenet.patches.workers import InPlace, Processes, SetupError

CENTRE = (10.0, -20.0, 30.0)


def expected_patch(tree: dict[str, Any], number: int, point: tuple[float, ...]) -> Any:
    """The stored patch by SimpleITK: 23 x 25 x 25 voxels centred on the point."""
    root = Path(tree["source"]["root"])
    image = sitk.ReadImage(str(root / f"subset{number}" / f"1.{number}.mhd"), sitk.sitkFloat32)
    spacing, size = (0.7, 0.7, 1.1), (25, 25, 23)
    grid = sitk.Image(*size, sitk.sitkFloat32)
    grid.SetSpacing(spacing)
    grid.SetOrigin([p - (n - 1) / 2 * s for p, n, s in zip(point, size, spacing, strict=True)])
    return sitk.GetArrayFromImage(
        sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, -1024.0)
    )


def test_stored_patches_are_those_of_simpleitk(luna: dict[str, Any]) -> None:
    store = prepare(Config.model_validate(luna)).store
    assert len(store) == 6
    for position in range(6):
        row = store.index.iloc[position]
        point = (row["x_lps_mm"], row["y_lps_mm"], row["z_lps_mm"])
        number = int(row["scan_id"].split(".")[1])
        found = store.patches([position])[0]
        assert np.abs(found - expected_patch(luna, number, point)).max() <= 0.55
        assert row["content_hash"] == content_hash(found)


def test_finished_scans_are_not_read_again(
    luna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate(luna)
    first = prepare(config)
    assert (first.made, first.reused) == (3, 0)

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a finished scan was opened")

    monkeypatch.setattr(room, "open_ct", never)
    again = prepare(config)
    assert (again.made, again.reused) == (0, 3)
    pd.testing.assert_frame_equal(first.store.index, again.store.index)


def test_a_run_that_was_killed_goes_on(
    luna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate(luna)
    real, opened = room.open_ct, []

    def killed(path: Path, **options: Any) -> object:
        opened.append(path.stem)
        if len(opened) == 2:
            raise KeyboardInterrupt
        return real(path, **options)

    monkeypatch.setattr(room, "open_ct", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(config)
    with pytest.raises(StoreError, match="preparation has not finished"):
        open_store(config)
    monkeypatch.setattr(room, "open_ct", lambda p, **o: (opened.append(p.stem), real(p, **o))[1])
    done = prepare(config)
    assert opened == ["1.0", "1.1", "1.1", "1.2"]
    assert (done.made, done.reused, len(done.store)) == (2, 1, 6)


def test_one_bad_scan_and_one_point_outside_do_not_end_the_others(luna: dict[str, Any]) -> None:
    root = Path(luna["source"]["root"])
    (root / "subset1" / "1.1.raw").unlink()
    with (root / "candidates_V2.csv").open("a") as file:
        file.write("1.2,500,0,0,0\n1.9,0,0,0,0\n")
    result = prepare(Config.model_validate(luna))
    assert set(result.store.index["scan_id"]) == {"1.0", "1.2"}
    what = {f["what"]: f["error"] for f in result.failures}
    assert set(what) == {
        "scan 1.1 (2 findings)",
        "scan 1.9 (1 findings)",
        "finding candidate-6",
    }
    assert "1.1" in what["scan 1.1 (2 findings)"]
    assert "outside" in what["finding candidate-6"]
    # Put right, the scan is read at the next call, and only that one.
    other = sitk.ReadImage(str(root / "subset0" / "1.0.mhd"))
    sitk.WriteImage(other, str(root / "subset1" / "1.1.mhd"))
    mended = prepare(Config.model_validate(luna))
    assert set(mended.store.index["scan_id"]) == {"1.0", "1.1", "1.2"}
    assert mended.reused == 2


def test_a_scan_that_was_replaced_is_read_again(luna: dict[str, Any]) -> None:
    before = prepare(Config.model_validate(luna)).store.patches([0])
    file = Path(luna["source"]["root"]) / "subset0" / "1.0.mhd"
    image = sitk.ReadImage(str(file)) + 5
    sitk.WriteImage(image, str(file))
    result = prepare(Config.model_validate(luna))
    assert result.made == 1
    np.testing.assert_allclose(
        result.store.patches([0]), before + 5, atol=1
    )  # halves round to even


def test_another_spec_is_another_store_and_windows_are_not(luna: dict[str, Any]) -> None:
    first = prepare(Config.model_validate(luna)).store.path
    luna["patch"]["windows"] = ["mediastinum"]
    assert prepare(Config.model_validate(luna)).store.path == first
    luna["patch"]["spacing_mm"] = [0.7, 0.7, 1.0]
    other = prepare(Config.model_validate(luna)).store.path
    assert other != first
    assert other.parent == first.parent


def test_no_patch_at_all_is_an_error(luna: dict[str, Any]) -> None:
    for file in Path(luna["source"]["root"]).glob("subset*/*.raw"):
        file.unlink()
    with pytest.raises(StoreError, match="not one patch could be made"):
        prepare(Config.model_validate(luna))


def test_damage_to_a_store_is_named(luna: dict[str, Any], tmp_path: Path) -> None:
    store = prepare(Config.model_validate(luna)).store
    shard = shard_path(store.path, "1.0")
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(StoreError, match=r"shard cannot be read.*prepare"):
        PatchStore(store.path).patches([0])
    np.save(shard, np.zeros((2, 3, 3, 3), dtype=np.int16))
    with pytest.raises(StoreError, match=r"expected int16 of \(23, 25, 25\)"):
        PatchStore(store.path).patches([0])
    head = store.path / "store.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"format": 99}))
    with pytest.raises(StoreError, match="has format 99"):
        PatchStore(store.path)
    with pytest.raises(StoreError, match="is no patch store"):
        PatchStore(tmp_path)


def contents(store: Path) -> dict[str, bytes]:
    return {str(f.relative_to(store)): f.read_bytes() for f in store.rglob("*") if f.is_file()}


def damaged(luna: dict[str, Any]) -> dict[str, Any]:
    """With a scan that cannot be read, one that is absent and points outside."""
    root = Path(luna["source"]["root"])
    raw = root / "subset1" / "1.1.raw"
    raw.write_bytes(raw.read_bytes()[:1000])
    with (root / "candidates_V2.csv").open("a") as file:
        file.write("1.2,500,0,0,0\n1.2,600,0,0,0\n1.9,0,0,0,0\n")
    return luna


def prepared_bytes(
    luna: dict[str, Any], name: str, **how: Any
) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    luna["store"] = str(Path(luna["run"]).parent / name)
    result = prepare(Config.model_validate(luna), **how)
    assert check_store(result.store) == []
    return contents(result.store.path), result.failures


def test_processes_make_the_same_bytes_as_one(luna: dict[str, Any]) -> None:
    one = prepared_bytes(damaged(luna), "one", jobs=1)
    two = prepared_bytes(luna, "two", jobs=2)
    assert one == two
    files, failures = one
    assert {name.split("/")[0] for name in files} == {
        "failures.json",
        "index.parquet",
        "journal",
        "shards",
        "store.json",
    }
    assert len(failures) == 4


@pytest.mark.slow
def test_a_dask_cluster_makes_the_same_bytes(luna: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", tmp_path]
    address = ["--scheduler-file", file]
    commands = [
        ["scheduler", "--port", "0", "--dashboard-address", ":0", *address],
        ["worker", *options, *address],
        ["worker", *options, *address],
    ]
    processes = [subprocess.Popen([*dask, *command], **quiet) for command in commands]
    try:
        assert wait_until(file.is_file, 30)
        one = prepared_bytes(damaged(luna), "one", jobs=1)
        assert prepared_bytes(luna, "dask", scheduler=str(file)) == one
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(20)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def long(luna: dict[str, Any]) -> dict[str, Any]:
    """Thirty scans of thirty findings: enough to be stopped in the middle."""
    root = Path(luna["source"]["root"])
    image = sitk.ReadImage(str(root / "subset0" / "1.0.mhd"))
    rng = np.random.default_rng(0)
    rows = []
    for number in range(30):
        sitk.WriteImage(image, str(root / "subset0" / f"7.{number}.mhd"))
        points = rng.uniform(-5, 5, (30, 3)) + CENTRE
        rows += [f"7.{number},{x},{y},{z},0\n" for x, y, z in points]
    with (root / "candidates_V2.csv").open("a") as file:
        file.writelines(rows)
    luna["patch"] |= {"size": [21, 41, 41], "interpolation": "bspline"}
    return luna


def started(tree: dict[str, Any], folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """The command with two processes, in a process group of its own; its journals' folder."""
    file = folder / "config.yaml"
    file.write_text(json.dumps(tree))
    command = "from nodulenet.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "prepare", str(file), "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return process, store_folder(Config.model_validate(tree)) / "journal"


def group_members(leader: int) -> list[int]:
    """Living processes of the session that ``leader`` began."""
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            members.append(int(folder.name))
    return members


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    "how",
    [
        "SIGINT to all",
        pytest.param("SIGKILL", marks=pytest.mark.long),
        pytest.param("SIGKILL to a worker", marks=pytest.mark.long),
    ],
)
def test_a_stopped_command_loses_what_was_in_flight_and_no_more(
    how: str, long: dict[str, Any], tmp_path: Path
) -> None:
    process, journals = started(long, tmp_path)
    assert wait_until(lambda: len(list(journals.glob("*.json"))) >= 5)
    if how == "SIGKILL to a worker":
        # The youngest of the session is a worker: the command and the fork server came before.
        os.kill(max(group_members(process.pid)), signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert check_store(PatchStore(out.strip())) == []
        assert "33 scans or pieces made" in err
        return
    if how == "SIGINT to all":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    begin = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - begin < 5
    assert wait_until(lambda: not group_members(process.pid), 5), "orphans"
    if how == "SIGINT to all":
        assert process.returncode == 130
        assert "the same command goes on from there" in err
        assert "Traceback" not in err
    kept = {f: f.stat().st_mtime_ns for f in journals.glob("[!.]*.json")}
    assert 5 <= len(kept) < 33
    # A shard without journal was in flight.
    shards = list((journals.parent / "shards").glob("[!.]*.npy"))
    assert len(shards) <= len(kept) + 2
    result = prepare(Config.model_validate(long), jobs=1)
    assert (result.reused, result.made) == (len(kept), 33 - len(kept))
    assert {f: f.stat().st_mtime_ns for f in kept} == kept
    assert check_store(result.store) == []


def test_little_work_stays_in_this_process(luna: dict[str, Any]) -> None:
    units = [room.Unit("a", ("f",) * 40, np.zeros((40, 3)), Path("a")) for _ in range(900)]
    assert isinstance(room.chosen_workers(units[:20]), InPlace)
    if room.usable_cpus() > 1:
        assert isinstance(room.chosen_workers(units), Processes)


def test_a_worker_that_cannot_help_says_so(luna: dict[str, Any], tmp_path: Path) -> None:
    config = Config.model_validate(luna)
    unit = room.Unit("a", ("f",), np.zeros((1, 3)), Path("a"))
    job = room.Job(tmp_path / "not shared", config.patch, room.Values())
    with pytest.raises(SetupError, match=r"worker .*: does not see the store .*not shared"):
        room._make_unit(job, unit)
    old = room.Job(tmp_path, config.patch, room.Values(), version="0.0.1")
    with pytest.raises(SetupError, match=r"but 0\.0\.1 asks for the work; install the same"):
        room._make_unit(old, unit)


def test_options_that_contradict_are_refused(luna: dict[str, Any], tmp_path: Path) -> None:
    config = Config.model_validate(luna)
    with pytest.raises(UsageError, match="give one of them"):
        prepare(config, jobs=2, scheduler="tcp://127.0.0.1:8786")
    with pytest.raises(UsageError, match="jobs is 0"):
        prepare(config, jobs=0)
    assert not config.store_path.exists()


def test_failures_of_one_cause_are_one_line(luna: dict[str, Any]) -> None:
    result = prepare(Config.model_validate(damaged(luna)))
    assert len(result.failures) == 4
    grouped = {f["what"]: f["error"] for f in group_failures(result.failures)}
    assert set(grouped) == {
        "scan 1.1 (2 findings)",
        "scan 1.9 (1 findings)",
        "2 findings (first candidate-6)",
    }
    assert "point (500.0, 0.0, 0.0) lies outside" in grouped["2 findings (first candidate-6)"]
    absent = [{"what": f"scan {n} (2 findings)", "error": "gone", "cause": "gone"} for n in "abc"]
    plain = [{"what": "row 3", "error": "x"}, {"what": "row 4", "error": "x"}]
    assert group_failures([*absent, *plain]) == [
        {"what": "3 scans (first a)", "error": "gone"},
        *plain,
    ]


def test_a_defect_in_one_scan_does_not_end_the_others(
    luna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = room.open_ct

    def broken(path: Path, **options: Any) -> object:
        if path.stem == "1.1":
            raise KeyError("series")
        return real(path, **options)

    monkeypatch.setattr(room, "open_ct", broken)
    result = prepare(Config.model_validate(luna))
    (failure,) = result.failures
    assert failure["what"] == "scan 1.1 (2 findings)"
    assert failure["error"].startswith("KeyError: 'series' (test_prepare.py, line ")
    assert set(result.store.index["scan_id"]) == {"1.0", "1.2"}


def test_a_full_disk_ends_the_run_at_once(
    luna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full(*args: object) -> None:
        calls.append(args)
        raise OSError(28, "No space left on device", "shard.npy")

    monkeypatch.setattr(room, "write_unit", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(Config.model_validate(luna))
    assert len(calls) == 1


def test_another_source_is_another_store(luna: dict[str, Any]) -> None:
    first = prepare(Config.model_validate(luna)).store
    with (Path(luna["source"]["root"]) / "candidates_V2.csv").open("a") as file:
        file.write("1.2,12,-22,31,0\n")
    other = prepare(Config.model_validate(luna)).store
    assert other.path != first.path
    assert (len(first), len(other)) == (6, 7)
    assert check_store(first) == check_store(other) == []


def test_what_is_streamed_is_not_stored(luna: dict[str, Any]) -> None:
    everything = prepare(Config.model_validate(luna)).store
    luna["source"] |= {"negatives_per_positive": 0.4, "stream_rest": True}
    config = Config.model_validate(luna)
    source = load_source(config)
    store = prepare(config).store
    assert store.source["all_candidates"]
    assert (store.source["findings"], store.source["stored"]) == (6, len(store))
    assert 3 <= len(store) < 6
    assert set(store.index["label"]) == {0, 1} or len(store) == 3
    assert (store.index["label"] == 1).sum() == 3
    assert list(store.index["finding_id"]) == list(source.stored["finding_id"])
    assert list(store.index.columns) == list(everything.index.columns)
    both = {*source.stored["finding_id"], *source.streamed["finding_id"]}
    assert both == set(everything.index["finding_id"])
    position = everything.index.set_index("finding_id").index.get_indexer(store.index["finding_id"])
    np.testing.assert_array_equal(
        store.patches(np.arange(len(store))), everything.patches(position)
    )
    # The same sample, nothing streamed: FROC would miss candidates, so it is another store.
    luna["source"]["stream_rest"] = False
    sampled = prepare(Config.model_validate(luna)).store
    assert sampled.path != store.path
    assert not sampled.source["all_candidates"]


def test_too_little_disk_is_refused_before_anything_is_written(
    luna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate(luna)
    monkeypatch.setattr(disk_space, "free_bytes", lambda _: 160_000)
    with pytest.raises(StoreError, match=r"6 patches need 199 kB, 160 kB are free; choose another"):
        prepare(config)
    assert not config.store_path.exists()
