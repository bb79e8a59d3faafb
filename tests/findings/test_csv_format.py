"""Semicolons, tabs and decimal commas: read when declared, else refused with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodulenet.config.schema import CsvFormat
from nodulenet.errors import FindingsError, UsageError
from nodulenet.findings.point_files import read_points_file

GERMAN = CsvFormat(separator=";", decimal=",")
POINTS = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (CsvFormat(separator=";", decimal=","), "finding_id;x;y;z;d\n007;12,5;-3;,25;0,5\n"),
        (CsvFormat(separator=";"), "finding_id;x;y;z;d\n007;12.5;-3;.25;0.5\n"),
        (CsvFormat(separator="tab"), "finding_id\tx\ty\tz\td\n007\t12.5\t-3\t0.25\t0.5\n"),
        (CsvFormat(separator="tab", decimal=","), "finding_id\tx\ty\tz\td\n"
         "007\t12,5\t-3\t2,5e-1\t0,5\n"),
        (CsvFormat(decimal=","), 'finding_id,x,y,z,d\n007,"12,5",-3,"0,25","0,5"\n'),
        (CsvFormat(separator=";", decimal=","), "\ufefffinding_id;x;y;z;d\r\n"
         "007;12,5;-3;0,25;0,5\r\n"),
    ],
)  # fmt: skip
def test_what_is_declared_is_read(tmp_path: Path, form: CsvFormat, text: str) -> None:
    file = tmp_path / "p.csv"
    file.write_text(text, encoding="utf-8", newline="")
    row = read_points_file(file, csv=form).table.loc[0]
    assert row.tolist() == ["007", 12.5, -3.0, 0.25, 0.5]


SEMICOLONS = "declare it with --csv-separator ';' (csv: {separator: \";\"})"
COMMAS = "declare it with --csv-decimal ',' (csv: {decimal: \",\"})"


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        (None, "x;y;z\n12,5;2,5;3,5\n", f"line 1 is separated by semicolons, expected commas; "
         f"{SEMICOLONS}, if its numbers are written 12,5 also {COMMAS}"),
        (None, "x\ty\tz\n1\t2\t3\n", "declare it with --csv-separator 'tab'"),
        (GERMAN, "x,y,z\n1,2,3\n", "line 1 is separated by commas, expected semicolons"),
        # 12,5 read as two columns: more fields, and as many after an empty one was left away.
        (None, "x,y,z\n12,5,3,4\n", f"line 2 has 4 fields, more fields than the header (3); if its "
         f"numbers are written 12,5, separate fields with semicolons and {SEMICOLONS}"),
        (None, "x,y,z,diameter_mm,note\n12,5,3,4\n", "line 2 has 4 fields, fewer fields than"),
        (None, 'x,y,z\n"12,5",3,4\n', f"line 2, column 'x': found '12,5', expected a number; if "
         f"that is a decimal comma, {COMMAS}"),
        (CsvFormat(separator=";"), "x;y;z\n12,5;3;4\n", f"found '12,5', expected a number; if that "
         f"is a decimal comma, {COMMAS}"),
        # A point where commas are declared may be a decimal or a thousand.
        (GERMAN, "x;y;z\n1.234;3;4\n", "found '1.234', expected a number with a decimal comma, as "
         "declared; correct the row, or if its numbers are written 12.5 declare it with "
         "--csv-decimal '.'"),
        (GERMAN, "x;y;z\n1,5;3;4\n1.234,5;3;4\n", "line 3, column 'x': found '1.234,5'"),
        (GERMAN, "x;y;z\n;3;4\n", "column 'x': found nothing, expected a finite number"),
        (GERMAN, "x;y;z\ninf;3;4\n", "found 'inf', expected a number with a decimal comma"),
        (GERMAN, "x;y;z;diameter_mm\n1;3;4;5.5\n", "column 'diameter_mm': found '5.5', expected"),
    ],
)  # fmt: skip
def test_the_rest_is_refused(
    tmp_path: Path, form: CsvFormat | None, text: str, message: str
) -> None:
    file = tmp_path / "p.csv"
    file.write_text(text)
    with pytest.raises(FindingsError) as error:
        read_points_file(file, csv=form)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_only_a_csv_takes_a_format(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text("{}")
    with pytest.raises(UsageError, match=r"is no CSV; leave out csv=CsvFormat\(separator=';'"):
        read_points_file(file, csv=GERMAN)


@settings(deadline=None, max_examples=50)
@given(point=st.tuples(*[st.floats(-1e4, 1e4)] * 3), form=st.sampled_from(["; ,", "; .", "tab ,"]))
def test_no_number_is_misread(
    tmp_path_factory: pytest.TempPathFactory, point: tuple[float, ...], form: str
) -> None:
    """Declared it comes back; undeclared no other number ever does."""
    separator, decimal = form.split()
    csv = CsvFormat.model_validate({"separator": separator, "decimal": decimal})
    file = tmp_path_factory.getbasetemp() / "written.csv"
    lines = ["x", "y", "z"], [repr(value).replace(".", decimal) for value in point]
    file.write_text("\n".join(csv.delimiter.join(line) for line in lines))
    found = read_points_file(file, csv=csv).table.loc[0, POINTS].tolist()
    assert found == pytest.approx(point, rel=1e-12, abs=0)
    for other in (None, CsvFormat(separator=csv.separator), CsvFormat(decimal=csv.decimal)):
        try:
            found = read_points_file(file, csv=other).table.loc[0, POINTS].tolist()
        except FindingsError:
            continue
        assert found == pytest.approx(point, rel=1e-12, abs=0)
