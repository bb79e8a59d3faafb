"""A made-up table of predictions, for trying out an evaluation without any data."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nodulenet.errors import UsageError
from nodulenet.seeds import generator

READERS = ("reader_1", "reader_2", "reader_3")
_MOST_LESIONS = 4
_INNER_SHARE = 0.4
_TEXTURES = ("solid", "part-solid", "ground-glass")
_TEXTURE_SHARES = (0.7, 0.12, 0.18)
_TEXTURE_EFFECTS = (0.0, 0.8, -0.3)
_HOSPITALS = ("North", "South", "West")
# Of the log odds of cancer.
_CONSTANT, _SIZE_EFFECT, _PATIENT_SPREAD = -1.2, 2.2, 0.7
# What a system makes of the log odds that it sees: slope, shift, and its noise. The first is
# sharper and too sure of itself, the second blunter and about right.
_SYSTEMS = {"system A": (1.6, 0.2, 1.0), "system B": (0.65, -0.25, 1.8)}
# Noise of each reader, and how readily it calls a lesion malignant.
_READERS = ((1.2, -0.3), (1.8, 0.6), (2.4, 0.0))
_CUTS = (-2.2, -0.9, 0.3, 1.6)


def phantom_predictions(*, patients: int = 300, seed: int = 0) -> pd.DataFrame:
    """Simulated answers of two systems and three readers on simulated lesions.

    Nothing in it was ever seen in a patient: it is there to be evaluated before own data are at
    hand. Its columns are called as somebody else might call them, so that ``columns=`` of
    :func:`nodulenet.evaluation.read_predictions` is shown:

    ``subject, lesion, part, system, cancer, score, size_mm, texture, hospital, reader_1, reader_2,
    reader_3``

    Lesions of one subject resemble each other, large and part-solid ones are more often cancer,
    ``system A`` ranks better than ``system B`` but is overconfident, and readers (1 benign to 5
    malignant) differ in skill and
    in where they draw the line. ``part`` is ``inner`` for subjects that thresholds may be chosen
    on and ``outer`` for those that results are told of.

    Args:
        patients: Number of subjects, at least 10. Defaults to 300.
        seed: Root seed. Defaults to 0.

    Returns:
        A row a lesion and system.

    Raises:
        UsageError: fewer than 10 patients.

    Example:
        >>> phantom_predictions(patients=20)["system"].unique().tolist()
        ['system A', 'system B']
    """
    if patients < 10:
        raise UsageError(f"phantom predictions: {patients} patients; expected at least 10")
    random = generator(seed, "phantom", "predictions")
    lesions = random.integers(1, _MOST_LESIONS + 1, patients)
    of = np.repeat(np.arange(patients), lesions)
    n = of.size
    size_mm = np.clip(np.exp(random.normal(np.log(8.0), 0.45, n)), 3.0, 30.0).round(1)
    texture = random.choice(len(_TEXTURES), n, p=_TEXTURE_SHARES)
    subject_effect = random.normal(0.0, _PATIENT_SPREAD, patients)[of]
    log_odds = _CONSTANT + _SIZE_EFFECT * np.log(size_mm / 8.0)
    log_odds += np.take(_TEXTURE_EFFECTS, texture) + subject_effect
    cancer = random.random(n) < 1 / (1 + np.exp(-log_odds))
    # What can be seen of it: as telling for all who look, and misleading for all in some lesions.
    seen = log_odds + random.normal(np.where(cancer, 1.0, -0.6), 1.0)
    inner = random.random(patients) < _INNER_SHARE
    table = pd.DataFrame(
        {
            "subject": [f"S{number:04d}" for number in of + 1],
            "lesion": [f"L{number:04d}" for number in range(1, n + 1)],
            "part": np.where(inner[of], "inner", "outer"),
            "cancer": cancer.astype("int64"),
            "size_mm": size_mm,
            "texture": np.take(_TEXTURES, texture),
            "hospital": np.take(_HOSPITALS, random.integers(0, len(_HOSPITALS), patients))[of],
        }
    )
    for reader, (noise, shift) in zip(READERS, _READERS, strict=True):
        table[reader] = 1 + np.searchsorted(_CUTS, seen + random.normal(shift, noise, n))
    answers = []
    for system, (slope, shift, noise) in _SYSTEMS.items():
        logits = slope * (seen + random.normal(0.0, noise, n)) + shift
        score = (1 / (1 + np.exp(-logits))).round(4)
        answers.append(table.assign(system=system, score=score))
    columns = ["subject", "lesion", "part", "system", "cancer", "score"]
    columns += ["size_mm", "texture", "hospital", *READERS]
    return pd.concat(answers, ignore_index=True)[columns]
