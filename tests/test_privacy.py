"""Pseudonyms by a key of the user's own, and messages without places."""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodulenet.errors import UsageError
from nodulenet.findings.patients import unnamed_patients
from nodulenet.privacy import (
    KEY_VARIABLE,
    key_file,
    known_pseudonyms,
    pseudonym,
    user_key,
    without_places,
)

KEY = bytes(range(32))


@pytest.fixture
def no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the key will lie."""
    file = tmp_path / "user" / "own.key"
    monkeypatch.setenv(KEY_VARIABLE, str(file))
    return file


@given(st.text(min_size=1))
def test_equal_names_have_equal_pseudonyms_and_others_others(name: str) -> None:
    own = pseudonym(name, KEY)
    assert own == f"p-{hashlib.blake2b(name.encode(), key=KEY, digest_size=10).hexdigest()}"
    assert name not in own or len(name) < 6
    assert pseudonym(own, KEY) == own
    assert pseudonym(name + "x", KEY) != own
    assert pseudonym(name, KEY[::-1]) != own
    assert pseudonym(name, KEY, "s")[1:] == own[1:]


def test_a_key_is_made_once_and_is_the_users_alone(no_key: Path) -> None:
    assert key_file() == no_key
    assert known_pseudonyms(["a"]) == {}  # nothing is made by looking
    assert not no_key.exists()
    with ThreadPoolExecutor(8) as threads:
        keys = {f.result() for f in [threads.submit(user_key) for _ in range(16)]}
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    if os.name == "posix":
        assert stat.S_IMODE(no_key.stat().st_mode) == 0o600
    assert [p.name for p in no_key.parent.iterdir()] == [no_key.name]
    assert known_pseudonyms(["a"]) == {"a": pseudonym("a", user_key())}


@pytest.mark.parametrize("content", ["", "secret", "0" * 63, "G" * 64, "é" * 64])
def test_what_is_no_key_is_refused(no_key: Path, content: str) -> None:
    no_key.parent.mkdir()
    no_key.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=rf"own\.key.*{KEY_VARIABLE}") as error:
        user_key()
    assert "\n" not in str(error.value)


def test_a_place_that_takes_no_key_is_named_with_the_remedy(
    no_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_key.parent.write_text("a file where a folder should be")
    with pytest.raises(UsageError, match="--keep-ids"):
        user_key()


def test_the_default_place_is_the_folder_of_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    assert key_file().name == "pseudonyms.key"
    assert "nodulenet" in str(key_file().parent).lower()
    assert key_file().is_absolute()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/d/DOE JANE/ct: no slices", "no slices"),
        ("/d/DOE JANE/ct/IM 1.dcm: is damaged", "is damaged"),
        (
            "cannot read /d/DOE JANE/ct/IM1.dcm, which is damaged",
            "cannot read the scan, which is damaged",
        ),
        ("/d/DOE JANE/ct2/IM1.dcm is bad", "(path) JANE/ct2/IM1.dcm is bad"),
        ("the scan data: /d/DOE_JANE", "the scan data: (path)"),
        ("expected at C:\\Scans\\DOE or file:/home/doe/ct", "expected at (path) or (path)"),
        ("5 patches /s, and/or 1/2 mm", "5 patches /s, and/or 1/2 mm"),
        ("nothing to hide: 3/4", "nothing to hide: 3/4"),
    ],
)
def test_places_are_left_out_of_messages(text: str, shown: str) -> None:
    assert without_places(text, {Path("/d/DOE JANE/ct"): "the scan"}) == shown


def test_places_are_called_otherwise_the_longest_first() -> None:
    places = {
        Path("/data"): "data",
        Path("/data/DOE/scans"): "the scans",
        Path("own/DOE"): "mine",
        Path("scan"): "no word of this name is touched",
        Path("/"): "nor is the root",
    }
    text = "no scan of that name in /data/DOE/scans; /data holds own/DOE/x, my-own/DOE no 1/2"
    assert without_places(text, places) == (
        "no scan of that name in the scans; data holds mine, my-own/DOE no 1/2"
    )


def test_tables_lose_names_and_keep_who_is_who() -> None:
    table = pd.DataFrame(
        {
            "patient_id": ["DOE", "ROE", "DOE", None],
            "Patient Name": ["Doe^Jane"] * 4,
            "date_of_birth": ["1950-01-02"] * 4,
            "label": [0, 1, 0, 1],
        }
    )
    made = unnamed_patients(table, keep_ids=False)
    assert list(made.table.columns) == ["patient_id", "label"]
    names = made.table["patient_id"]
    assert names[0] == names[2] == pseudonym("DOE", user_key())
    assert names[1] == pseudonym("ROE", user_key())
    assert pd.isna(names[3])
    assert made.originals == {names[0]: "DOE", names[1]: "ROE"}
    assert "DOE" not in str(made.notes)
    again = unnamed_patients(made.table, keep_ids=False)
    assert again.table["patient_id"].tolist()[:3] == names.tolist()[:3]
    kept = unnamed_patients(table, keep_ids=True)
    assert kept.table["patient_id"].tolist()[:3] == ["DOE", "ROE", "DOE"]
    assert list(kept.table.columns) == ["patient_id", "label"]
    # Ids are the same as text, as numbers, and as the floats that a gap makes of them.
    as_text = pseudonym("12", user_key())
    for ids in (["12"], [12], [12.0, float("nan")]):
        numbers = pd.DataFrame({"patient_id": ids, "MRN": 1})
        made = unnamed_patients(numbers, keep_ids=False)
        assert made.table["patient_id"][0] == as_text
        assert list(made.table.columns) == ["patient_id"]
    assert unnamed_patients(pd.DataFrame({"patient_id": ["", "a"]}), keep_ids=False).table[
        "patient_id"
    ].isna().tolist() == [True, False]
