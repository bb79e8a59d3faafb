"""Labels from ratings. They are joined when patches are loaded: a new rule needs no new store."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nodulenet.config.schema import LabelRule
from nodulenet.errors import FindingsError

# Where a source's column "label" holds ratings or words instead of 0 and 1, it stays under this
# name, and a rule for "label" means it.
RATING = "source_label"


def keep_rating(table: pd.DataFrame, *, declared: bool = True) -> pd.DataFrame:
    """The table with a ``label`` that is no 0/1 label (or not ``declared`` one) set aside."""
    if "label" not in table.columns:
        return table
    numbers = pd.to_numeric(table["label"], errors="coerce")
    is_label = (numbers.isin([0, 1]) | table["label"].isna()).all()
    return table if declared and is_label else table.rename(columns={"label": RATING})


def apply_label_rule(table: pd.DataFrame, rule: LabelRule | None) -> pd.Series:
    """The labels (Int64: 0, 1, <NA>) of findings; without a rule the table's own.

    Raises:
        FindingsError: the rule's column is absent, or the rule calls a value both.
    """
    if rule is None:
        return table["label"].astype("Int64")
    column = RATING if rule.column == "label" and RATING in table.columns else rule.column
    if column not in table.columns:
        raise FindingsError(
            f"label_rule.column: {rule.column!r} is no column of the findings; they have "
            f"{', '.join(map(str, table.columns))}"
        )
    values = table[column]
    negative, positive = (
        matching_rows(values, list(rule.negative)),
        matching_rows(values, list(rule.positive)),
    )
    if (negative & positive).any():
        value = values[negative & positive].iloc[0]
        value = value.item() if hasattr(value, "item") else value
        raise FindingsError(
            f"label_rule: the value {value!r} of {rule.column!r} is negative and positive at once; "
            f"make negative={rule.negative} and positive={rule.positive} disjoint"
        )
    labels = pd.Series(pd.NA, index=table.index, dtype="Int64")
    labels[negative] = 0
    labels[positive] = 1
    return labels


def matching_rows(values: pd.Series, wanted: list[float | str]) -> pd.Series:
    """Which values are wanted: two numbers are a closed range, anything else a list of values."""
    if len(wanted) == 2 and all(isinstance(w, int | float) for w in wanted):
        low, high = (float(w) for w in wanted)
        numbers = pd.to_numeric(values, errors="coerce")
        return (numbers >= low) & (numbers <= high)
    # Words compare as text, numbers as numbers: "1" in a CSV column is the number 1.
    words = {w for w in wanted if isinstance(w, str)}
    listed = np.array([float(w) for w in wanted if not isinstance(w, str)])
    is_word = values.astype(str).isin(words)
    is_number = pd.to_numeric(values, errors="coerce").isin(listed)
    return is_word | is_number
