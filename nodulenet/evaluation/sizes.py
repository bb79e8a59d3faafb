"""What is known of the sizes of findings, and when a figure of them would mislead."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nodulenet.errors import UsageError

# With a diameter for fewer than this share of a class, having one is itself the answer.
MINIMUM_SHARE = 0.5
KEYS = ("finding_id", "patient_id", "fold", "model", "split", "label", "probability")


def check_size_column(column: str) -> None:
    """Refuses a size column that is a key of the table.

    Raises:
        UsageError: it is.
    """
    if column in KEYS:
        raise UsageError(
            f"size column {column!r} is a column that every table has, not a size; name the one "
            "that holds the size, e.g. diameter_mm (evaluate.size_column)"
        )


def with_sizes(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The column as float64, NaN where unknown and no other row of the finding knows it.

    A row without a size, and text that is no number, takes the first size of its finding.
    """
    numbers = pd.to_numeric(rows[column], errors="coerce").astype("float64")
    sizes = numbers.where((numbers > 0) & np.isfinite(numbers))
    first = sizes.groupby(rows["finding_id"].to_numpy()).transform("first")
    return rows.assign(**{column: sizes.where(sizes.notna(), first)})


def known_sizes(rows: pd.DataFrame, column: str) -> pd.Series[bool]:
    """Where a size is known: a finite number above 0."""
    return (rows[column] > 0) & np.isfinite(rows[column])


def known_counts(findings: pd.DataFrame, known: pd.Series[bool]) -> dict[str, int]:
    """For how many findings, and how many of each class, the size is known."""
    return {
        "findings": len(findings),
        "with_size": int(known.sum()),
        "without_size": int((~known).sum()),
        "positives_with_size": int((known & (findings["label"] == 1)).sum()),
        "negatives_with_size": int((known & (findings["label"] == 0)).sum()),
    }


def why_misleading(findings: pd.DataFrame, known: pd.Series[bool], what: str) -> str:
    """Why a score that is known for some findings only must not be evaluated, or nothing."""
    for label, word in ((1, "positive"), (0, "negative")):
        of_class = findings["label"] == label
        total, with_it = int(of_class.sum()), int((known & of_class).sum())
        if total == 0:
            return f"there are no {word} findings"
        if with_it == 0 or with_it < MINIMUM_SHARE * total:
            return (
                f"{what} is known for {with_it} of {total} {word} findings, so that a "
                "comparison would compare who was measured, not what was found"
            )
    return ""
