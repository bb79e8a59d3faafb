"""What a network learns for each finding, and how its outputs become one probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.schema import ClassTarget, SoftTarget, Target
from nodulenet.errors import FindingsError
from nodulenet.findings.labels import matching_rows


@dataclass(frozen=True)
class Targets:
    """Targets of findings.

    Attributes:
        values: float32 (findings, outputs), rows sum to 1; NaN where nothing is known.
        known: bool (findings,), whether a finding can be learned.
        positive: bool (findings,), who counts as positive when batches are balanced or negatives
            are drawn: the label, and without one the more probable side of the target.
        notes: what people should know.
    """

    values: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    positive: npt.NDArray[np.bool_]
    notes: tuple[str, ...] = ()


def outputs_of(target: Target | None) -> int:
    """Outputs of a network that learns this."""
    return len(target.classes) if isinstance(target, ClassTarget) else 2


def positive_probability(
    outputs: npt.NDArray[np.floating], target: Target | None
) -> npt.NDArray[np.float64]:
    """Probability of label 1 from a network's outputs (n, outputs): float64 (n,).

    Of several classes: that it is a positive one, given that it is a positive or a negative one.
    """
    values = np.asarray(outputs, dtype=np.float64)
    if not isinstance(target, ClassTarget):
        return values[:, -1]
    positive = values[:, target.positive].sum(axis=1)
    negative = values[:, target.negative].sum(axis=1)
    total = positive + negative
    # A network that is sure of a class that is neither says nothing about the two.
    return np.divide(positive, total, out=np.full(len(values), 0.5), where=total > 0)


def make_targets(findings: pd.DataFrame, target: Target | None) -> Targets:
    """The targets of findings (``label``: 0, 1 or <NA>, and the target's column).

    Raises:
        FindingsError: the column is absent, holds no numbers, or a value is in two classes.
    """
    labels = np.asarray(findings["label"].astype("Float64"), dtype=np.float64)
    labelled = np.isfinite(labels)
    if target is None:
        values = np.stack([1 - labels, labels], axis=1).astype(np.float32)
        return Targets(values, labelled, labels == 1)
    if target.column not in findings.columns:
        raise FindingsError(
            f"target.column: {target.column!r} is no column of the findings; they have "
            f"{', '.join(map(str, findings.columns))}"
        )
    if isinstance(target, SoftTarget):
        values, notes = _soft(findings, target, labels)
    else:
        values, notes = _classes(findings, target, labelled)
    known = np.asarray(np.isfinite(values).all(axis=1))
    side = positive_probability(np.nan_to_num(values), target) >= 0.5
    return Targets(values, known, np.where(labelled, labels == 1, side).astype(bool), notes)


def _soft(
    findings: pd.DataFrame, target: SoftTarget, labels: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    column = findings[target.column]
    ratings = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.isnan(ratings) & column.notna().to_numpy() & (column.astype(str) != "").to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        raise FindingsError(
            f"target.column: finding {findings['finding_id'].iloc[row]!r} has "
            f"{target.column}={column.iloc[row]}, expected a number"
        )
    probability = np.clip((ratings - target.low) / (target.high - target.low), 0, 1)
    missing = np.isnan(probability)
    notes: tuple[str, ...] = ()
    if (filled := int((missing & np.isfinite(labels)).sum())) > 0:
        notes = (f"{filled} findings have a label and no {target.column}: they learn the label",)
    probability = np.where(missing, labels, probability)
    return np.stack([1 - probability, probability], axis=1).astype(np.float32), notes


def _classes(
    findings: pd.DataFrame, target: ClassTarget, labelled: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    column = findings[target.column]
    inside = np.stack(
        [matching_rows(column, list(values)).to_numpy(dtype=bool) for values in target.classes],
        axis=1,
    )
    twice = np.asarray(inside.sum(axis=1) > 1)
    if twice.any():
        row = int(np.argmax(twice))
        numbers = np.flatnonzero(inside[row]).tolist()
        raise FindingsError(
            f"target.classes: finding {findings['finding_id'].iloc[row]!r} has "
            f"{target.column}={column.iloc[row]}, which is in classes {numbers}; expected one"
        )
    none = np.asarray(~inside.any(axis=1))
    values = np.where(none[:, np.newaxis], np.nan, inside).astype(np.float32)
    left = int((none & labelled).sum())
    notes = (f"{left} labelled findings are in no class: evaluated, not trained on",)
    return values, notes if left else ()
