"""Patients in tables of one's own: pseudonyms for their ids, no columns with names or birth dates.

Public collections (LUNA16, LUNA25, LIDC-IDRI, MedMNIST) keep their ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from nodulenet.privacy import pseudonym, user_key

PERSONAL_COLUMNS = frozenset(
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
"""Names of columns that are left out of every table, without case, spaces and underscores."""


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
        keep_ids: leave ``patient_id`` as it is: for public data.

    Raises:
        UsageError: the user's key cannot be kept.
    """
    personal = [c for c in table.columns if _plain(str(c)) in PERSONAL_COLUMNS]
    result = table.drop(columns=personal)
    notes = [f"left out, because they name patients: {', '.join(personal)}"] if personal else []
    nobody = "patient_id" not in result.columns or result["patient_id"].isna().all()
    if keep_ids or nobody:
        return Patients(result, notes=tuple(notes))
    key = user_key()
    given = result["patient_id"]
    named = {name: pseudonym(str(name), key) for name in given.dropna().unique()}
    result = result.assign(patient_id=given.map(named))
    notes.append("patient_id: pseudonyms by this user's key; keep_ids keeps those of public data")
    originals = {p: str(n) for n, p in named.items() if p != n}
    return Patients(result, originals, tuple(notes))


def _plain(column: str) -> str:
    return "".join(c for c in column.casefold() if c.isalnum())
