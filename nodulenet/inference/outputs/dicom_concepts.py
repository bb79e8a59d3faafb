"""What the numbers of an answer are called in DICOM.

A code of the standard is used only where it says exactly what is meant; the others are concepts of
our own (coding scheme 99NODULENET), whose meanings are plain sentences.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from nodulenet.config.meaning import MEANINGS
from nodulenet.inference.answers import INDETERMINATE, Answers
from nodulenet.inference.outputs.dicom_modules import long_string

SCHEME = "99NODULENET"

Concept = tuple[str, str, str]
"""Code value (at most 16 characters), coding scheme designator, meaning (at most 64)."""

PROBABILITY_OF_CANCER: Concept = ("111047", "DCM", "Probability of cancer")
LOWEST: Concept = ("P-LOWEST", SCHEME, "Lowest probability among the fold models")
HIGHEST: Concept = ("P-HIGHEST", SCHEME, "Highest probability among the fold models")
CALL: Concept = ("CALL", SCHEME, "Class at the operating point")
CONFORMAL: Concept = ("CONFORMAL", SCHEME, "Class that is not ruled out (conformal answer)")
GIVEN: Concept = ("GIVEN", SCHEME, "Given with the point, not measured by the algorithm")

_CODES = {"candidate": "P-NODULE", "reader_rating": "P-RATED", "outcome": "P-OUTCOME"}

CANCER_CLASSES = frozenset(
    ("cancer", "lung cancer", "malignant", "malignant nodule", "malignancy", "cancerous")
)
"""Names of a positive class that say cancer."""

_PROOF = ("patholog", "histolog", "cytolog", "biops", "resect", "cancer regist", "cancer diagnos")
_DOUBT = ("rating", "rated", "reader", "radiolog", "opinion", "not stated")


def is_probability_of_cancer(answers: Answers) -> bool:
    """Whether "Probability of cancer" (DCM 111047) is what the probability is.

    It is only where the labels are outcomes, the positive class is called cancer, and what the
    labels rest on (``bundle["label_basis"]``: a text, or texts with their counts) names pathology
    or a cancer registry and nowhere an opinion. Readers' ratings and candidate classes never are.
    """
    if answers.label_meaning != "outcome":
        return False
    if answers.class_names[1].strip().casefold() not in CANCER_CLASSES:
        return False
    stated = answers.bundle.get("label_basis")
    texts = list(stated) if isinstance(stated, Mapping) else [stated or ""]
    basis = " ".join(map(str, texts)).casefold()
    return any(word in basis for word in _PROOF) and not any(word in basis for word in _DOUBT)


def probability_concept(answers: Answers) -> Concept:
    """What the probability is called."""
    if is_probability_of_cancer(answers):
        return PROBABILITY_OF_CANCER
    said = MEANINGS[answers.label_meaning].probability_of
    return (_CODES[answers.label_meaning], SCHEME, f"Probability {said}")


def class_concept(name: str) -> Concept:
    """A class as a coded value; its code comes from its name, so that it has one meaning only."""
    if name == INDETERMINATE:
        return ("INDETERMINATE", SCHEME, "Indeterminate: neither class is ruled out")
    meaning = long_string(name)
    return (f"CLASS-{hashlib.sha256(meaning.encode()).hexdigest()[:8]}", SCHEME, meaning)
