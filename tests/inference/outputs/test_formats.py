"""Files of answers hold what the answers say, in the shape that their readers expect."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nodulenet.ct import CTVolume
from nodulenet.errors import DataError, MissingDependencyError, UsageError
from nodulenet.findings.luna25 import read_point_list_json
from nodulenet.findings.slicer import read_slicer_markups
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.inference.answers import INDETERMINATE, Answers, OperatingPoint
from nodulenet.inference.outputs import (
    OUTPUTS,
    Sources,
    chosen_formats,
    refuse_unfit,
    write_outputs,
)
from nodulenet.inference.outputs.answer_words import (
    call_text,
    conformal_text,
    diameter_text,
    plain,
    probability_text,
    range_text,
)
from nodulenet.inference.outputs.csv_table import csv_text
from nodulenet.inference.outputs.json_document import json_text

Make = Callable[..., Answers]
ODD_IDS = ["Knötchen 1", "結節-2", "<b>3</b>", 'a,b;"c"', "$x_1$"]


def written(answers: Answers, folder: Path, name: str, scan: CTVolume | None = None) -> Any:
    files = write_outputs(answers, folder, chosen_formats(name), Sources(volume=scan)).files
    return json.loads(files[0].read_text(encoding="utf-8"))


def test_csv_reads_back_with_six_digits_and_the_names_as_they_are(
    make_answers: Make, tmp_path: Path
) -> None:
    answers = make_answers(
        5, {"finding_id": ODD_IDS, "diameter_mm": [np.nan, 8.123456789, 1, 2, 3]}
    )
    (file,) = write_outputs(answers, tmp_path, chosen_formats("csv")).files
    assert file == tmp_path / "answers.csv"
    back = pd.read_csv(file)
    assert list(back.columns) == list(answers.table.columns)
    assert list(back["finding_id"]) == ODD_IDS
    assert back["probability"][0] == 0.813457
    assert back["diameter_mm"][1] == 8.123456789  # only probabilities are rounded
    assert file.read_text(encoding="utf-8") == csv_text(answers) + "\n"


def test_json_keeps_every_digit_and_has_null_where_nothing_is_known(
    make_answers: Make, operating_point: OperatingPoint
) -> None:
    point = replace(operating_point, specificity=float("nan"))
    answers = make_answers(
        2, {"diameter_mm": [np.nan, 7.5]}, operating_point=point, warnings=("thick slices",)
    )

    def refuse(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(json_text(answers), parse_constant=refuse)
    # What `classify --json` printed before there were outputs comes first, unchanged.
    assert list(read)[:8] == [
        *("meaning", "prevalence", "training_prevalence", "model", "use", "answers"),
        *("failures", "warnings"),
    ]
    assert read["answers"][0]["probability"] == 0.8134567891
    assert [row["diameter_mm"] for row in read["answers"]] == [None, 7.5]
    assert read["operating_point"]["threshold"] == 0.4321
    assert read["operating_point"]["specificity"] is None
    assert read["miss_rate"] is None
    assert read["warnings"] == ["thick slices"]


SLICER_POINT = {  # markups-schema-v1.0.3.json
    "id": str,
    "label": str,
    "description": str,
    "associatedNodeID": str,
    "position": list,
    "orientation": list,
    "selected": bool,
    "locked": bool,
    "visibility": bool,
    "positionStatus": str,
}


def test_slicer_points_read_back_where_they_were_and_say_what_the_number_is(
    make_answers: Make, operating_point: OperatingPoint, tmp_path: Path
) -> None:
    answers = make_answers(
        5,
        {
            "finding_id": ODD_IDS,
            "diameter_mm": [np.nan, 8.2, 1, 2, 3],
            "call": ["nodule"] * 5,
            "conformal": [INDETERMINATE] * 5,
            "warnings": ["mostly air", "", "", "", ""],
        },
        operating_point=operating_point,
        miss_rate=0.1,
    )
    content = written(answers, tmp_path, "slicer")
    table, notes = read_slicer_markups(tmp_path / "findings.mrk.json")
    assert notes == ()
    assert list(table["finding_id"]) == ODD_IDS
    np.testing.assert_array_equal(table[list(POINT_COLUMNS)], answers.table[list(POINT_COLUMNS)])
    for part in (
        "81.3 % probability that the position is an annotated nodule",
        "65.1 % to 89.5 % (range over the fold models, not an interval)",
        "call: nodule, at the operating point “sensitivity 0.95”",
        "indeterminate",
        "at most 10 %",
        "diameter: not known",
        "WARNING: mostly air",
        "research use only",
    ):
        assert part in table["description"][0], part
    assert "diameter: 8.2 mm" in table["description"][1]

    assert content["@schema"].endswith("markups-schema-v1.0.3.json#")
    (markup,) = content["markups"]
    assert (markup["type"], markup["coordinateSystem"]) == ("Fiducial", "LPS")
    for point in markup["controlPoints"]:
        assert {key: type(value) for key, value in point.items()} == SLICER_POINT
        assert point["positionStatus"] == "defined"
        assert len(point["position"]) == 3
        assert len(point["orientation"]) == 9
    measured = {m["name"]: m for m in markup["measurements"]}
    assert measured["probability"]["controlPointValues"] == list(answers.table["probability"])
    assert "annotated nodule" in measured["probability"]["description"]
    assert "research use only" in measured["probability"]["description"]
    # One number a point, and JSON has no NaN: with one unknown there is no such measurement.
    assert set(measured) == {"probability", "fold_low", "fold_high"}


def test_a_single_slicer_point_has_the_value_of_the_list(
    make_answers: Make, tmp_path: Path
) -> None:
    content = written(make_answers(1, {"diameter_mm": 8.0}), tmp_path, "slicer")
    values = {m["name"]: m["value"] for m in content["markups"][0]["measurements"]}
    assert values["diameter_mm"] == 8.0
    assert values["probability"] == 0.8134567891
    assert content["markups"][0]["measurements"][3]["units"] == ["mm", "UCUM", "millimeter"]


def test_grand_challenge_gets_the_shape_of_the_challenge_s_own_outputs(
    make_answers: Make, tmp_path: Path
) -> None:
    answers = make_answers(2, {"finding_id": ["213632_1_20010102", "213169_1_20010102"]})
    content = written(answers, tmp_path, "grand-challenge")
    # As in the test data of luna25-evaluation-public.
    assert content == {
        "name": "Points of interest",
        "type": "Multiple points",
        "points": [
            {
                "name": "213632_1_20010102",
                "point": [35.0, 40.0, -75.0],
                "probability": 0.8134567891,
            },
            {"name": "213169_1_20010102", "point": [35.0, 40.25, -75.0], "probability": 0.1},
        ],
        "version": {"major": 1, "minor": 0},
    }
    file = tmp_path / "lung-nodule-malginancy-likelihoods.json"
    back = read_point_list_json(file)
    assert list(back["listed_probability"]) == list(answers.table["probability"])


def test_grand_challenge_says_when_the_number_is_none_of_malignancy(
    make_answers: Make, tmp_path: Path
) -> None:
    formats = chosen_formats("grand-challenge")
    (note,) = write_outputs(make_answers(), tmp_path, formats).notes
    assert "annotated nodule" in note
    outcome = make_answers(label_meaning="outcome", failures=[{"what": "finding a", "error": "b"}])
    (note,) = write_outputs(outcome, tmp_path, formats).notes
    assert "lacks 1" in note
    with pytest.raises(DataError, match="probability is nan"):
        write_outputs(make_answers(columns={"probability": np.nan}), tmp_path, formats)


def test_what_cannot_be_written_is_refused_before_anything_is(
    make_answers: Make, scan: CTVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = make_answers()
    patches = replace(patches, table=patches.table.drop(columns=list(POINT_COLUMNS)))
    with pytest.raises(UsageError, match=r"slicer: needs points.*are csv, json$"):
        write_outputs(patches, tmp_path, chosen_formats("csv,slicer"), Sources(volume=scan))
    with pytest.raises(UsageError, match="sheet: needs the scan itself"):
        write_outputs(make_answers(), tmp_path, chosen_formats("csv,sheet"))
    assert list(tmp_path.iterdir()) == []
    # A format of an optional package, which needs the DICOM series: as the DICOM writers will be.
    dicom = replace(OUTPUTS["csv"], name="d", needs=("dicom",), package="no_such_x", extra="e")
    monkeypatch.setitem(OUTPUTS, "d", dicom)
    with pytest.raises(UsageError, match="--reference-dicom"):
        refuse_unfit([dicom], points=True, scan=True)
    with pytest.raises(MissingDependencyError, match=r"pip install 'nodulenet\[e\]'"):
        refuse_unfit([dicom], points=True, scan=True, dicom=True)


def test_formats_are_chosen_by_name_once_and_in_order() -> None:
    assert [f.name for f in chosen_formats(" slicer,CSV,,slicer")] == ["slicer", "csv"]
    for wrong in ("csv,xml", ","):
        with pytest.raises(UsageError, match="csv, json, slicer"):
            chosen_formats(wrong)
    names = [file for entry in OUTPUTS.values() for file in entry.files]
    assert len(names) == len(set(names))  # they share a folder


def test_no_answer_at_all_still_gives_valid_files(
    make_answers: Make, scan: CTVolume, tmp_path: Path
) -> None:
    failures = [{"what": "finding a", "error": "lies outside"}]
    answers = make_answers(1, failures=failures)
    answers = replace(answers, table=answers.table.iloc[:0])
    formats = tuple(entry for entry in OUTPUTS.values() if "dicom" not in entry.needs)
    files = write_outputs(answers, tmp_path, formats, Sources(volume=scan)).files
    # The list says of every format what it writes, and nothing else is left behind.
    listed = [name for entry in formats for name in entry.files]
    assert [file.name for file in files] == listed
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(listed)
    assert json.loads((tmp_path / "answers.json").read_text())["answers"] == []
    markups = json.loads((tmp_path / "findings.mrk.json").read_text())["markups"][0]
    assert (markups["controlPoints"], markups["measurements"]) == ([], [])
    assert "finding a: lies outside" in (tmp_path / "finding-sheet.html").read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "under 0.1 %"),
        (0.00099, "under 0.1 %"),
        (0.5, "50.0 %"),
        (0.9991, "over 99.9 %"),
        (1.0, "over 99.9 %"),
        (float("nan"), "not given"),
    ],
)
def test_a_probability_is_never_nothing_or_certainty(value: float, text: str) -> None:
    assert probability_text(value) == text


def test_words_for_what_is_not_there(make_answers: Make, operating_point: OperatingPoint) -> None:
    answers = make_answers()
    row: dict[str, Any] = {"call": None, "conformal": float("nan"), "diameter_mm": pd.NA}
    assert range_text(row) == "not given"
    assert call_text(row, answers) == "not given: no operating point"
    assert call_text({"call": "nodule"}, answers) == "nodule"
    assert conformal_text(row, answers) == "not given"
    assert diameter_text(row) == "not known"
    assert plain("a\nb\x00\u202ec") == "a b\ufffd\ufffdc"
    nowhere = replace(operating_point, sensitivity=float("nan"))
    assert "sensitivity not known" in call_text(
        {"call": "nodule"}, make_answers(operating_point=nowhere)
    )


def test_light_formats_load_nothing_heavy() -> None:
    code = (
        "import sys, nodulenet.inference.outputs.formats as f;"
        "[f.OUTPUTS[n].writer() for n in ('csv', 'json', 'slicer', 'grand-challenge')];"
        "print([m for m in ('matplotlib', 'jinja2', 'keras', 'torch', 'highdicom') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
