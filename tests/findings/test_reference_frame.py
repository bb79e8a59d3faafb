"""Points of another series: carried over where the frame of reference agrees, else told."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from nodulenet.config.schema import PointsSource
from nodulenet.ct import CTVolume, open_ct
from nodulenet.errors import FindingsError
from nodulenet.findings.own_scans import read_own_scans
from nodulenet.findings.point_files import read_points_file
from nodulenet.findings.points import points_of_scan, scan_names

writer = runpy.run_path(str(Path(__file__).with_name("series_writer.py")))
write_series, SERIES, FRAME = writer["write_series"], writer["SERIES"], writer["FRAME"]

INSIDE = "-30,13,-200"


def ids_in_scan(file: Path, scan: Path, volume: CTVolume) -> tuple[list[str], tuple[str, ...]]:
    """What `classify` takes of a table, and the notes."""
    rows = read_points_file(file, volume=volume)
    names = scan_names(scan, volume.series_uid)
    return list(points_of_scan(rows.table, names, str(file))["finding_id"]), rows.notes


def test_the_frame_of_reference_decides(tmp_path: Path) -> None:
    scan, file = tmp_path / "scan", tmp_path / "p.csv"
    write_series(scan)
    volume = open_ct(scan)
    assert volume.frame_of_reference_uid == FRAME
    head = "finding_id,x,y,z,"

    def rows(columns: str, *values: str) -> tuple[list[str], tuple[str, ...]]:
        lines = [f"f{i},{INSIDE},{v}" for i, v in enumerate(values)]
        file.write_text("\n".join([head + columns, *lines]))
        return ids_in_scan(file, scan, volume)

    # Own rows, an unknown frame among them.
    assert rows("frame_of_reference_uid", FRAME, "") == (["f0", "f1"], ())
    # One in another frame is left out, of one or of many.
    kept, notes = rows("FrameOfReferenceUID", FRAME, "1.2.3")
    assert kept == ["f0"]
    assert notes == (
        f"{file}: 1 points (the first is f1) are in the frame of reference 1.2.3, the scan "
        f"{SERIES} is in {FRAME}; their millimetres mean other places and are left out",
    )
    with pytest.raises(FindingsError, match=r"1\.2\.3, the scan .* and are left out: none is left"):
        rows("frame_of_reference_uid", "1.2.3", "1.2.3")
    # Another series' name alone is no way.
    with pytest.raises(
        FindingsError, match=r"names no point of .*carry over only where the column"
    ):
        rows("series_uid", "9.9")
    with pytest.raises(
        FindingsError, match=r"names no point of .*carry over only where the column"
    ):
        rows("series_uid,frame_of_reference_uid", "9.9,1.2.3")
    # In the same frame it is; with its own rows there, the scan keeps to these.
    kept, notes = rows("series_uid,frame_of_reference_uid", f"9.9,{FRAME}", f"9.9,{FRAME}")
    assert kept == ["f0", "f1"]
    assert "2 points were marked on 9.9 and are carried over" in notes[0]
    assert rows("series_uid,frame_of_reference_uid", f"9.9,{FRAME}", f"{SERIES},{FRAME}") == (
        ["f1"],
        (),
    )
    with pytest.raises(FindingsError, match=r"points of 2 other series .*\(8\.8, 9\.9\)"):
        rows("series_uid,frame_of_reference_uid", f"9.9,{FRAME}", f"8.8,{FRAME}")
    # A row that names this scan, but was marked on another series.
    kept, notes = rows(
        "scan_id,series_uid,frame_of_reference_uid", f"scan,9.9,{FRAME}", "scan,9.9,", "scan,,"
    )
    assert kept == ["f0", "f2"]
    assert "1 points (the first is f1) were marked on the series 9.9, not on" in notes[0]


def test_a_converted_scan_names_no_frame(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text(f"x,y,z,frame_of_reference_uid\n1,1,1,{FRAME}\n")
    volume = CTVolume.from_array(np.full((4, 4, 4), -900, np.int16), (1, 1, 1), series_uid="c")
    rows = read_points_file(file, volume=volume)
    assert len(rows.table) == 1
    assert rows.notes == (
        f"{file}: the scan c names no frame of reference, so that of the table could not be "
        "compared",
    )


def test_a_converted_scan_takes_the_points_of_one_series(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("x,y,z,series_uid\n1,1,1,1.2.3.4.5\n2,2,2,1.2.3.4.5\n")
    hu = np.full((4, 4, 4), -900, np.int16)
    volume = CTVolume.from_array(hu, (1, 1, 1), series_uid="c")
    rows = read_points_file(file, volume=volume)
    assert rows.table["referenced_series_uid"].tolist() == ["1.2.3.4.5"] * 2
    assert rows.notes == (
        f"{file}: refers to the series 1.2.3.4.5; taken for the scan c, which is array and does "
        "not know its series",
    )
    # A file that bears its series' UID, as LUNA16's do, knows it; two series are not one scan.
    named = CTVolume.from_array(hu, (1, 1, 1), series_uid="1.2.3.4.6")
    with pytest.raises(FindingsError, match="names no point of the scan"):
        ids_in_scan(file, tmp_path / "x.mhd", named)
    file.write_text("x,y,z,series_uid\n1,1,1,1.2.3.4.5\n2,2,2,1.2.3.4.6\n")
    with pytest.raises(FindingsError, match="names no point of the scan"):
        ids_in_scan(file, tmp_path / "x.mhd", volume)


def test_slices_of_two_frames_name_none(tmp_path: Path) -> None:
    def other(ds: object, k: int) -> None:
        ds.FrameOfReferenceUID = f"1.2.{k % 2}"  # type: ignore[attr-defined]

    write_series(tmp_path / "scan", change=other)
    volume = open_ct(tmp_path / "scan")
    assert volume.frame_of_reference_uid == ""
    assert any("name 2 frames of reference; none is taken" in text for text in volume.warnings)
    assert volume.for_many_windows().planes == volume.planes


def test_a_source_lists_scans_whose_points_are_elsewhere(tmp_path: Path) -> None:
    for name, frame in {"a": FRAME, "b": "1.2.3"}.items():
        write_series(tmp_path / "scans" / name, series_uid=f"{SERIES}.{name == 'b':d}", frame=frame)
    file = tmp_path / "p.csv"
    file.write_text(
        "scan_id,x,y,z,frame_of_reference_uid\n"
        + "".join(f"{name},{INSIDE},{FRAME}\n" for name in "abc")
    )
    found = read_own_scans(PointsSource(kind="points", scans=tmp_path / "scans", points=file))
    assert list(found.table["scan_id"]) == ["a", "c"]  # c is absent, which is told elsewhere
    assert [f["what"] for f in found.failures] == ["scan b (1 findings)"]
    assert "none is left" in found.failures[0]["error"]


@pytest.mark.parametrize("name", ["case-1", "study"])
def test_frames_are_compared_whatever_the_points_call_the_scan(tmp_path: Path, name: str) -> None:
    write_series(tmp_path / "scans" / "a", series_uid=SERIES, frame=FRAME)
    volume = open_ct(tmp_path / "scans" / "a")
    scans = tmp_path / "scans.csv"
    scans.write_text(f"path,series_uid,study_uid,scan_id\nscans/a,{SERIES},study,case-1\n")
    file = tmp_path / "p.csv"

    def read(frame: str, series: str) -> list[str]:
        file.write_text(
            f"scan_id,x,y,z,frame_of_reference_uid,series_uid\n{name},{INSIDE},{frame},{series}\n"
        )
        found = read_own_scans(PointsSource(kind="points", scans=scans, points=file))
        assert list(found.table["scan_id"]) == [name]
        return list(found.notes)

    assert volume.series_uid == SERIES
    carried = [note for note in read(FRAME, f"{SERIES}.77") if "carried over" in note]
    assert len(carried) == 1
    assert f"marked on {SERIES}.77" in carried[0]
    with pytest.raises(FindingsError, match="none is left"):
        read("1.2.3.9", f"{SERIES}.77")
