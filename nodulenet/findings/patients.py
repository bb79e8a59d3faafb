"""Patients in tables of one's own: pseudonyms for their ids, no columns with names or birth dates.

Public collections (LUNA16, LUNA25, LIDC-IDRI, MedMNIST) keep their ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from nodulenet.privacy import pseudonym, user_key

_ID = "patient_id"
NAMES = frozenset(
    {
        "patientname",
        "patientsname",
        "firstname",
        "lastname",
        "surname",
        "givenname",
        "familyname",
        "birthdate",
        "patientbirthdate",
        "patientsbirthdate",
        "dateofbirth",
        "dob",
    }
)
"""Columns that are left out of every table, without case, spaces and underscores."""
OTHER_IDS = frozenset({"patientid", "patient", "pid", "mrn", "accessionnumber"})
"""Columns that are left out unless ids are kept."""


@dataclass(frozen=True)
class Patients:
    """A table whose patients are not named.

    Attributes:
        table: the same rows.
        originals: id of each pseudonym, for checks alone: it is written nowhere.
        notes: what was done, for people.
    """

    table: pd.DataFrame
    originals: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def unnamed_patients(table: pd.DataFrame, *, keep_ids: bool) -> Patients:
    """A table with keyed pseudonyms as ``patient_id``, and without columns of names.

    Args:
        table: any table; without ``patient_id`` only columns of names are looked for.
        keep_ids: leave ids as they are: for public data.

    Raises:
        UsageError: the user's key cannot be kept.
    """
    unwanted = NAMES if keep_ids else NAMES | OTHER_IDS
    personal = [c for c in table.columns if c != _ID and _plain(str(c)) in unwanted]
    result = table.drop(columns=personal)
    notes = [f"left out, because they name patients: {', '.join(personal)}"] if personal else []
    if keep_ids or _ID not in result.columns or result[_ID].isna().all():
        return Patients(result, notes=tuple(notes))
    key = user_key()
    given = result[_ID].replace("", None)
    names = {value: _as_text(value) for value in given.dropna().unique()}
    named = {value: pseudonym(name, key) for value, name in names.items()}
    result = result.assign(**{_ID: given.map(named)})
    notes.append("patient_id: pseudonyms by this user's key; keep_ids keeps those of public data")
    originals = {named[value]: name for value, name in names.items() if named[value] != name}
    return Patients(result, originals, tuple(notes))


def _as_text(value: object) -> str:
    """An id as tables write it: 12 where pandas has made 12.0 of it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _plain(column: str) -> str:
    return "".join(c for c in column.casefold() if c.isalnum())
