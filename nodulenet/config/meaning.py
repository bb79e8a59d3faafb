"""What a label, and so a probability, says: the one place that puts it into words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

LabelMeaning = Literal["candidate", "reader_rating", "outcome"]


@dataclass(frozen=True)
class Meaning:
    """What a label says and, as much, what it does not say."""

    probability_of: str
    explanation: str
    class_names: tuple[str, str]


STATED_NOWHERE: Final = "not stated"
"""Basis of a label that nobody gave."""

UNSTATED: Final = "unstated"
"""In reports on tables of others alone: nobody said what label 1 is."""

MEANINGS: dict[str, Meaning] = {
    "candidate": Meaning(
        probability_of="that the position is an annotated nodule",
        explanation=(
            "A positive is a position that was annotated as a nodule, a negative a candidate "
            "position that was not. This label says nothing about cancer."
        ),
        class_names=("not a nodule", "nodule"),
    ),
    "reader_rating": Meaning(
        probability_of="that readers rate the nodule as probably malignant",
        explanation=(
            "The label is the opinion of radiologists who read the scan, not pathology. Agreement "
            "with it is agreement with readers, not proof of disease."
        ),
        class_names=("rated benign", "rated malignant"),
    ),
    "outcome": Meaning(
        probability_of="of the recorded outcome",
        explanation=(
            "The label is the outcome as the data source defines it (for example pathology or "
            "follow-up). See the source for how it was established."
        ),
        class_names=("outcome negative", "outcome positive"),
    ),
}

NO_MEANING = Meaning(
    probability_of="of label 1",
    explanation=(
        "Nobody said what label 1 means in this table, so no figure here can be read as one of "
        "cancer, of a rating or of a nodule."
    ),
    class_names=("label 0", "label 1"),
)
