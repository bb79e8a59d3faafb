"""Columns of the findings as covariates of a logistic model: numbers, and words as categories."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.config.schema import ColumnConfig
from nodulenet.errors import FindingsError

# Words that fewer findings of the fitted part have share one category, with words never seen.
RARE = 10
_NONE = "(none)"
_LABELS = ("label", "source_label")


def covariates(
    findings: pd.DataFrame,
    columns: Sequence[ColumnConfig],
    where: str,
    *,
    withheld: Collection[str] = (),
    numbers: Collection[str] | None = None,
) -> pd.DataFrame:
    """The columns as numbers (float64, NaN where a median is to stand in) and words (text).

    Args:
        findings: ``finding_id`` and the columns, one row a finding.
        columns: Which, and what an empty cell is.
        where: What they are for, in errors: ``stack v2+spiculation``.
        withheld: Columns that the label is made from. Defaults to none but the label itself.
        numbers: Names in the result that are numbers, the others being words, as a fitted model
            has it. Defaults to what the cells look like.

    Returns:
        A table with the index of ``findings``; a logarithm is called ``log COLUMN``.

    Raises:
        FindingsError: a column is absent or says the label, a cell is empty where that is
            refused, a logarithm of what is not above 0, a number to stand in for words.
    """
    made = {}
    for config in columns:
        name = covariate_name(config)
        as_number = None if numbers is None else name in numbers
        made[name] = _values(findings, config, where, withheld, as_number)
    return pd.DataFrame(made, index=findings.index)


def covariate_name(config: ColumnConfig) -> str:
    """What a column is called among the covariates."""
    return f"log {config.column}" if config.scale == "log" else config.column


def unusable_cells(
    findings: pd.DataFrame, config: ColumnConfig, *, is_number: bool
) -> pd.Series[str]:
    """What is wrong with each cell of a column for a fitted model, in words; empty where nothing.

    Args:
        findings: With the column.
        config: Of the column.
        is_number: Whether the model takes it for a number.
    """
    texts = findings[config.column].astype("string").str.strip()
    texts = texts.mask(texts == "")
    said = pd.Series("", index=findings.index)
    if config.missing == "refuse":
        said = said.mask(texts.isna().to_numpy(), f"has no {config.column}")
    if not is_number:
        return said
    numbers = pd.to_numeric(texts, errors="coerce").astype("float64")
    shown = texts.fillna("")
    no_number = (texts.notna() & ~np.isfinite(numbers)).to_numpy(dtype=bool, na_value=False)
    said = said.mask(no_number, f"has {config.column}=" + shown + ", which is no number")
    if config.scale == "log":
        no_logarithm = (numbers <= 0).to_numpy(dtype=bool, na_value=False)
        said = said.mask(no_logarithm, f"has {config.column}=" + shown + ", expected above 0")
    return said.astype(str)


def logistic_model(table: pd.DataFrame) -> Any:
    """A logistic regression for such a table, not fitted yet: a scikit-learn pipeline.

    Numbers get the median of the fitted part where they are missing, and its mean and standard
    deviation; words a category each, those of fewer than 10 findings and those never seen one
    together. The penalty is scikit-learn's L2 with C = 1 on the standardised columns; the
    probability is that of label 1.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers, words = _numbers_and_words(table)
    design = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(
                    # A column that the fitted part does not know at all says nothing: 0.
                    SimpleImputer(strategy="median", keep_empty_features=True),
                    StandardScaler(),
                ),
                numbers,
            ),
            (
                "words",
                OneHotEncoder(
                    handle_unknown="infrequent_if_exist", min_frequency=RARE, sparse_output=False
                ),
                words,
            ),
        ]
    )
    return make_pipeline(design, LogisticRegression(max_iter=1000))


def terms(table: pd.DataFrame) -> int:
    """How many coefficients such a table costs: one a number, one less than its common words."""
    numbers, words = _numbers_and_words(table)
    common = [int((table[name].value_counts() >= RARE).sum()) for name in words]
    return len(numbers) + sum(max(1, count - 1) for count in common)


def _numbers_and_words(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    numbers = [c for c in table.columns if pd.api.types.is_float_dtype(table[c])]
    return numbers, [c for c in table.columns if c not in numbers]


def _values(
    findings: pd.DataFrame,
    config: ColumnConfig,
    where: str,
    withheld: Collection[str],
    as_number: bool | None,
) -> pd.Series[Any]:
    column = config.column
    if column not in findings.columns:
        near = difflib.get_close_matches(column, map(str, findings.columns), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "name one of them"
        raise FindingsError(
            f"{where}: column {column!r} is no column of the findings, which have "
            f"{', '.join(map(str, findings.columns))}; {hint}"
        )
    if column in (*_LABELS, *withheld):
        raise FindingsError(
            f"{where}: column {column!r} is what the label is made from, so it would predict "
            f"itself; take another column"
        )
    texts = findings[column].astype("string").str.strip()
    texts = texts.mask(texts == "")
    numbers = pd.to_numeric(texts, errors="coerce").astype("float64")
    are_numbers = as_number
    if are_numbers is None:
        all_are = bool((numbers.notna() | texts.isna()).all())
        are_numbers = all_are and bool(texts.notna().any())
    if are_numbers:
        numbers = numbers.where(np.isfinite(numbers))
    empty = numbers.isna() if are_numbers else texts.isna()
    if config.missing == "refuse" and empty.any():
        raise FindingsError(
            f"{where}: finding {_first(findings, empty)} has no {column} ({int(empty.sum())} of "
            f"{len(findings)} findings have none); fill it in, or say what stands in for it: "
            f"{{column: {column}, missing: median}} or a number"
        )
    if not are_numbers:
        if not isinstance(config.missing, str) or config.scale == "log":
            word = next(iter(texts.dropna()), "none")
            raise FindingsError(
                f"{where}: column {column!r} holds words ({word}), for which scale: log and a "
                f"number for `missing` have no meaning; leave them out"
            )
        return texts.fillna(_NONE).astype(object)
    if not isinstance(config.missing, str):
        numbers = numbers.fillna(float(config.missing))
    if config.scale == "log":
        wrong = numbers <= 0
        if wrong.any():
            raise FindingsError(
                f"{where}: finding {_first(findings, wrong)} has {column}="
                f"{numbers[wrong].iloc[0]:g}, which has no logarithm; set scale: linear or correct "
                f"it"
            )
        numbers = pd.Series(np.log(numbers), index=numbers.index)
    return numbers


def _first(findings: pd.DataFrame, wrong: pd.Series[bool]) -> str:
    return repr(str(findings["finding_id"][wrong.to_numpy()].iloc[0]))
