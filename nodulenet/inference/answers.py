"""What a bundle says about findings, as it is handed to the writers of outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

INDETERMINATE = "indeterminate"
"""The conformal answer that rules out neither class."""

ANSWER_COLUMNS = (
    "probability",
    "probability_raw",
    "fold_low",
    "fold_high",
    "call",
    "conformal",
    "warnings",
)
"""Columns that answers add to what is known of a finding."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what it reached where it was not chosen.

    Attributes:
        name: what it aims at, e.g. ``sensitivity 0.95``.
        threshold: on ``probability``; at or above it the call is the positive class.
        sensitivity: of the out-of-fold predictions, each fold at the threshold of its inner rows.
        specificity: the same.
    """

    name: str
    threshold: float
    sensitivity: float | None
    specificity: float | None


@dataclass(frozen=True)
class Answers:
    """What was answered.

    Attributes:
        table: one row a finding that was answered. ``finding_id``, ``scan_id``, ``x_lps_mm``,
            ``y_lps_mm``, ``z_lps_mm`` (points of a scan; patches have the columns of their
            table), ``diameter_mm`` where it is known; then ``probability`` (calibrated),
            ``probability_raw`` (mean of the models), ``fold_low`` and ``fold_high`` (range over
            the fold models, calibrated like ``probability``; a range, not an interval), ``call``
            (a class name, by the operating point) and ``conformal`` (a class name, or
            ``indeterminate``) where the bundle can give them, ``warnings`` (joined by ``; ``).
        failures: ``{"what", "error"}`` of the others.
        meaning: what ``probability`` is the probability of.
        prevalence: share of positives that the probabilities are calibrated to.
        model: the model that answered.
        label_meaning: candidate, reader_rating or outcome.
        class_names: of the negative and the positive class.
        bundle: what answered: ``name``, ``hash`` (BLAKE2, of its list), ``training_prevalence``,
            ``engine``, ``nodulenet`` (version), ``label_basis`` (counts, where known) and ``card``
            (one line on training and test, where it was packed).
        operating_point: by which ``call`` was given.
        miss_rate: share of a class's findings whose conformal set may miss it, at most.
        warnings: about the scan as a whole, or the model.
    """

    table: pd.DataFrame
    failures: list[dict[str, str]]
    meaning: str
    prevalence: float
    model: str
    label_meaning: str = "candidate"
    class_names: tuple[str, str] = ("not a nodule", "nodule")
    bundle: dict[str, Any] = field(default_factory=dict)
    operating_point: OperatingPoint | None = None
    miss_rate: float | None = None
    warnings: tuple[str, ...] = ()
