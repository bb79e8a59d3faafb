"""Keyed hashes: found again by whoever has the name, readable by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodulenet.config.schema import ArchiveColumns, MedMnistSource, PatchArchiveSource
from nodulenet.privacy import pseudonym, user_key
from nodulenet.training.identities import (
    has_patient_ids,
    identity_hashes,
    scan_uids,
    shared_identities,
    shared_patients,
)

NAMES = st.lists(st.text(min_size=1, max_size=12))


@given(NAMES, NAMES)
def test_exactly_the_shared_names_are_found(trained: list[str], others: list[str]) -> None:
    known = identity_hashes(trained)
    expected = [name for name in dict.fromkeys(others) if name in set(trained)]
    assert shared_identities(others, known) == expected


def test_names_do_not_stand_in_it_and_every_bundle_has_its_own_key() -> None:
    first, second = identity_hashes(["patient-1", "patient-1"]), identity_hashes(["patient-1"])
    assert len(first["blake2b"]) == 1
    assert "patient-1" not in str(first)
    assert first["key"] != second["key"]
    assert first["blake2b"] != second["blake2b"]
    assert identity_hashes(["patient-1"], first["key"]) == first


def test_the_order_of_hashes_is_not_that_of_the_names() -> None:
    names = [f"p{i}" for i in range(50)]
    hashed = identity_hashes(names)
    assert hashed["blake2b"] == sorted(hashed["blake2b"])


def test_nobody_is_known_without_hashes() -> None:
    assert shared_identities(["a"], None) == []


@pytest.mark.parametrize(
    ("name", "is_uid"),
    [
        ("1.3.6.1.4.1.14519.5.2.1.6279.6001.2860", True),
        ("2.25.316438846812407954827640561394327629752", True),
        ("1.2.826.0.1.3680043.2.1125", True),
        ("1.2.3", False),
        ("2024.11.24.0930.12.33", False),
        ("case01", False),
        ("12", False),
        ("0.7", False),
        ("1.2.3.4.5.6.7.8.9.10-a", False),
    ],
)
def test_only_uids_are_the_same_everywhere(name: str, is_uid: bool) -> None:
    assert scan_uids([name, name]) == ([name] if is_uid else [])


def test_rows_are_no_people(tmp_path: Path) -> None:
    """row-0 of one archive is not row-0 of another."""
    archive = {"kind": "patches", "archive": tmp_path, "table": tmp_path}
    named = PatchArchiveSource(**archive)
    rows = PatchArchiveSource(**archive, columns=ArchiveColumns(patient_id=None))
    assert has_patient_ids(named)
    assert not has_patient_ids(rows)
    assert not has_patient_ids(MedMnistSource(kind="medmnist", archive=tmp_path))


def test_a_patient_is_found_by_the_id_and_by_the_pseudonym() -> None:
    mine, yours = user_key(), bytes(32)
    kept = {"patients_hash": identity_hashes(["DOE"]), "pseudonyms_hash": None}
    both = kept | {"pseudonyms_hash": identity_hashes([pseudonym("DOE", mine)])}
    named = {"patients_hash": identity_hashes([pseudonym("DOE", mine)])}
    other = {"patients_hash": identity_hashes([pseudonym("DOE", yours)])}
    own = pseudonym("DOE", mine)
    for training in (kept, both, named):
        # Whoever has the id finds all of them.
        assert shared_patients(["ROE", "DOE", "DOE"], training) == ["DOE"]
        originals = {own: "DOE"}
        assert shared_patients(["ROE", own], training, originals=originals) == [own]
    # A pseudonym alone finds what was hashed under it, and nothing by another key.
    assert shared_patients([own], both) == shared_patients([own], named) == [own]
    assert shared_patients([own], kept) == []
    assert shared_patients(["DOE", own], other) == []
    assert shared_patients(["DOE"], {"patients_hash": None}) == []
