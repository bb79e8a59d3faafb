"""Answers as algorithms of the LUNA25 challenge hand them in.

Sources: the public baseline's ``inference.py`` (DIAGNijmegen, luna25-baseline-public) and the
test outputs of the challenge's evaluation code: Grand Challenge's interface of kind "Multiple
points", in a file whose name the challenge spells so. A point has the name that
``nodule-locations.json`` gave it, its place in LPS mm, and the probability.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nodulenet.atomic import write_json
from nodulenet.errors import DataError
from nodulenet.findings.luna25 import POINT_LIST_TYPE
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.answer_words import rows_of
from nodulenet.inference.outputs.sources import Sources, Written

FILE = "lung-nodule-malginancy-likelihoods.json"


def grand_challenge_points(answers: Answers) -> dict[str, Any]:
    """What the file holds; the format has no room for anything else.

    Raises:
        DataError: a probability is not a number.
    """
    points = []
    for row in rows_of(answers):
        probability = float(row["probability"])
        if not 0 <= probability <= 1:
            raise DataError(
                f"finding {row['finding_id']!r}: probability is {probability}; expected 0 to 1; "
                f"leave the finding out"
            )
        points.append(
            {
                "name": str(row["finding_id"]),
                "point": [float(row[column]) for column in POINT_COLUMNS],
                "probability": probability,
            }
        )
    return {
        "name": "Points of interest",
        "type": POINT_LIST_TYPE,
        "points": points,
        "version": {"major": 1, "minor": 0},
    }


def write_grand_challenge(answers: Answers, folder: Path, _sources: Sources) -> Written:
    """Writes ``lung-nodule-malginancy-likelihoods.json``.

    The name says malignancy; where the bundle's probability is one of something else, a note does.
    """
    target = folder / FILE
    write_json(target, grand_challenge_points(answers))
    notes = []
    if answers.label_meaning == "candidate":
        notes.append(
            f"{FILE}: is named for malignancy, but holds the {answers.meaning}, as the bundle "
            f"answers it"
        )
    if answers.failures:
        notes.append(
            f"{FILE}: lacks {len(answers.failures)} of the findings, which could not be answered"
        )
    return Written((target,), tuple(notes))
