"""Labels from ratings. They are joined when patches are loaded: a new rule needs no new store."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nodulenet.config.schema import LabelRule
from nodulenet.errors import FindingsError


def apply_label_rule(table: pd.DataFrame, rule: LabelRule | None) -> pd.Series:
    """The labels (Int64: 0, 1, <NA>) of findings; without a rule the table's own.

    Raises:
        FindingsError: the rule's column is absent, or the rule calls a value both.
    """
    if rule is None:
        return table["label"].astype("Int64")
    if rule.column not in table.columns:
        raise FindingsError(
            f"label_rule.column: {rule.column!r} is no column of the findings; they have "
            f"{', '.join(map(str, table.columns))}"
        )
    values = table[rule.column]
    negative, positive = _matches(values, rule.negative), _matches(values, rule.positive)
    if (negative & positive).any():
        value = values[negative & positive].iloc[0]
        raise FindingsError(
            f"label_rule: the value {value!r} of {rule.column!r} is negative and positive at once; "
            f"make negative={rule.negative} and positive={rule.positive} disjoint"
        )
    labels = pd.Series(pd.NA, index=table.index, dtype="Int64")
    labels[negative] = 0
    labels[positive] = 1
    return labels


def _matches(values: pd.Series, wanted: list[float | str]) -> pd.Series:
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
