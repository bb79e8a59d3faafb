"""What a preparation is said to take beforehand, beside what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nodulenet.amounts import bytes_text, count_text, duration_text
from nodulenet.cli.prepare import prepare as command
from nodulenet.config.schema import Config
from nodulenet.errors import StoreError
from nodulenet.patches import disk_space
from nodulenet.patches import estimate as room
from nodulenet.patches.estimate import estimate_preparation
from nodulenet.patches.prepare import prepare


def on_disk(folder: Path) -> int:
    return sum(f.stat().st_blocks * 512 for f in folder.rglob("*") if f.is_file())


def test_counts_and_disk_are_those_of_the_store(luna: dict[str, Any]) -> None:
    root = Path(luna["source"]["root"])
    with (root / "candidates_V2.csv").open("a") as file:
        file.write("1.9,0,0,0,0\n")
    config = Config.model_validate(luna)
    before = estimate_preparation(config)
    assert not config.store_path.exists()
    assert (before.units, before.absent, before.patches, before.patches_left) == (4, 1, 6, 6)
    assert before.sampled_units == 3
    assert before.prepare_s is not None
    assert before.prepare_s < 5
    assert 50e6 < before.memory_bytes < 8e9
    store = prepare(config).store
    assert store.path == before.store
    assert before.disk_bytes == pytest.approx(on_disk(store.path), rel=0.3)
    (store.path / "index.parquet").unlink()
    next(store.path.glob("journal/*1.1-*.json")).unlink()
    after = estimate_preparation(config)
    assert (after.patches, after.patches_left) == (6, 2)
    assert dict(after.lines())["patches"] == "6, 4 are there"
    assert dict(after.lines())["scans"] == "4, 1 absent"


def test_streamed_findings_are_counted_apart(luna: dict[str, Any]) -> None:
    luna["source"] |= {"negatives_per_positive": 0.4, "stream_rest": True}
    found = estimate_preparation(Config.model_validate(luna))
    assert found.patches + found.streamed == 6
    assert found.streamed > 0
    assert found.stream_s is not None
    assert f"{found.streamed}, read from their scans" in dict(found.lines())["streamed"]
    assert "stream_rest" in " ".join(found.notes) or "streamed" in " ".join(found.notes)


def test_time_is_the_sample_on_the_whole(
    luna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_seconds", lambda unit, _: 0.4 + 0.2 * len(unit.finding_ids))
    luna["source"] |= {"negatives_per_positive": 0.4, "stream_rest": True}
    found = estimate_preparation(Config.model_validate(luna), jobs=2)
    streamed, stored = found.streamed, found.patches
    assert found.prepare_s == pytest.approx((3 * 0.4 + stored * 0.2) / 2)
    # Without margin a patch has fewer voxels to cut.
    share = (21 * 23 * 23) / (23 * 25 * 25)
    assert found.stream_s == pytest.approx(0.4 * streamed + 0.2 * streamed * share)
    assert found.processes == 2


def test_scans_that_cannot_be_read_leave_the_time_open(luna: dict[str, Any]) -> None:
    for file in Path(luna["source"]["root"]).glob("subset*/*.raw"):
        file.unlink()
    found = estimate_preparation(Config.model_validate(luna))
    assert found.prepare_s is None
    assert dict(found.lines())["time"].startswith("unknown")


def test_the_command_writes_no_store_and_refuses_as_the_preparation(
    luna: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(luna))
    arguments = ["prepare", str(file), "--dry-run", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "nodulenet.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["patches"], facts["streamed"]) == (6, 0)
    assert not Path(luna["run"]).exists()
    monkeypatch.setattr(disk_space, "free_bytes", lambda _: 10_000)
    with pytest.raises(StoreError, match="10 kB are free; choose another disk"):
        command(str(file), dry_run=True)
    assert "disk     199 kB to write" in capsys.readouterr().out


def test_amounts_are_read_at_a_glance() -> None:
    assert [bytes_text(n) for n in (900, 199e3, 4.32e9, 96.6e9, 1.2e12)] == [
        "0.9 kB",
        "199 kB",
        "4.32 GB",
        "96.6 GB",
        "1.2 TB",
    ]
    assert [duration_text(s) for s in (0.2, 89, 300, 5400, 4e5, 8e6)] == [
        "1 s",
        "89 s",
        "5 min",
        "1.5 h",
        "111 h",
        "2,222 h",
    ]
    assert [count_text(n, "patch", "patches") for n in (1, 2000)] == ["1 patch", "2,000 patches"]
