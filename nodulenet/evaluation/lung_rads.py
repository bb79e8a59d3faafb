"""Lung-RADS beside a model: categories that a reader gave, taken as an ordered score.

They are read from a column and never worked out here. A category rests on more than this program
has: growth since earlier scans, the kind of the nodule and its solid part, benign calcification,
juxtapleural and airway nodules, cysts, and for 4X whatever else looked suspicious to the reader.
What a diameter alone would give is the size again, under the name of a standard that radiologists
answer for.

The order is 1 < 2 < 3 < 4A < 4B < 4X. ACR gives 4B and 4X the same chance of malignancy (above
15 %) and the same work-up; 4X is put above because it means that something more was seen. Category
0 (incomplete) is no assessment and counts as unknown. The modifier S (another significant finding)
says nothing of the nodule; it is read and left out of the order. Lung-RADS speaks of the scan's
most suspicious nodule: a column for findings holds what a reader would give were that nodule alone.

Source: American College of Radiology, Lung-RADS v2022 Assessment Categories, November 2022;
Christensen J. et al., ACR Lung-RADS v2022: Assessment Categories and Management Recommendations,
J. Am. Coll. Radiol. 21:473-488, 2024.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import shown
from nodulenet.evaluation.confusion import Proportion, confusion
from nodulenet.evaluation.discrimination import rank_metrics
from nodulenet.evaluation.interval import LEVEL
from nodulenet.evaluation.size_only import comparisons
from nodulenet.evaluation.sizes import why_misleading

COLUMN = "lung_rads"
CATEGORIES = ("1", "2", "3", "4A", "4B", "4X")
INCOMPLETE = "0"
_FORM = re.compile(r"(?:LUNG-?RADS\s*)?(0|1|2|3|4A|4B|4X)(?:\s*-?\s*(S))?")
_EMPTY = ("", "NAN", "NA", "N/A", "NONE", "<NA>")
_SCORE = "lung_rads_rank"
_PROPORTIONS: tuple[Proportion, ...] = ("sensitivity", "specificity", "ppv", "npv")


def read_lung_rads(values: pd.Series[Any], *, source: str = "lung_rads") -> pd.DataFrame:
    """Categories as they were written, as ranks.

    Read are ``1, 2, 3, 4A, 4B, 4X`` and ``0``, with or without the modifier S (``2S``, ``4A S``,
    ``4B-S``), in capitals or not; numbers that are whole (a column of 1, 2, 3 with empty cells is
    read as 1.0, 2.0, 3.0). A bare 4 is refused: it may be any of three.

    Args:
        values: One cell a finding.
        source: What messages call the column. Defaults to ``"lung_rads"``.

    Returns:
        Indexed like ``values``: ``category`` (text, None where the cell is empty), ``rank`` (1 to
        6 in the order of :data:`CATEGORIES`; NaN where empty or 0) and ``s_modifier`` (bool).

    Raises:
        PredictionsError: a cell holds something else; with its row (from 1), value and what was
            expected.

    Example:
        >>> read_lung_rads(pd.Series(["2", "4A S", None]))["rank"].tolist()
        [2.0, 4.0, nan]
    """
    ranks = {category: float(rank) for rank, category in enumerate(CATEGORIES, start=1)}
    categories: list[str | None] = []
    modifiers = []
    for row, value in enumerate(values, start=1):
        text = _text(value)
        if text in _EMPTY:
            categories.append(None)
            modifiers.append(False)
            continue
        found = _FORM.fullmatch(text)
        if found is None:
            four = "; 4 needs its letter" if text in ("4", "4S") else ""
            raise PredictionsError(
                f"{source}, row {row}: {shown(value)} is no Lung-RADS category; expected one of "
                f"{INCOMPLETE}, {', '.join(CATEGORIES)}, with or without S, or an empty cell{four}"
            )
        categories.append(found[1])
        modifiers.append(found[2] is not None)
    return pd.DataFrame(
        {
            "category": pd.Series(categories, index=values.index, dtype=object),
            "rank": [ranks.get(c or "", np.nan) for c in categories],
            "s_modifier": modifiers,
        },
        index=values.index,
    )


def lung_rads_row(
    rows: pd.DataFrame,
    *,
    column: str = COLUMN,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
    max_fpr: float = 0.1,
    specificity: float = 0.9,
    sensitivity: float = 0.9,
) -> dict[str, Any]:
    """Lung-RADS as a row beside the models, on the findings that have a category.

    Args:
        rows: Outer rows of a validated predictions table, with one or several models.
        column: Where the categories are. Defaults to ``"lung_rads"``.
        n_bootstrap: Resamples of the patients. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.
        max_fpr: Upper end of the partial AUC. Defaults to 0.1.
        specificity: At which sensitivity is stated. Defaults to 0.9.
        sensitivity: At which specificity is stated. Defaults to 0.9.

    Returns:
        JSON-ready: ``available, why, column``, counts (``findings, with_category,
        without_category, incomplete``: category 0, ``s_modifier, by_category``: category ->
        negatives and positives), the rank metrics of
        :func:`nodulenet.evaluation.discrimination.rank_metrics`, ``operating_points`` (one a
        category from 2 on: ``name`` such as "4A or higher", counts and Wilson intervals) and
        ``comparisons`` (each model minus Lung-RADS, paired by patient). ``available`` False and
        ``why`` where the column is missing, holds something else, differs between rows of one
        finding, or is known for less than half of a class.
    """
    facts: dict[str, Any] = {"available": False, "column": column}
    if column not in rows.columns:
        return facts | {"why": f"there is no column {column!r}"}
    try:
        read = read_lung_rads(rows[column], source=f"column {column}")
    except PredictionsError as error:
        return facts | {"why": str(error)}
    scored = rows.assign(
        **{_SCORE: read["rank"], "category": read["category"], "modified": read["s_modifier"]}
    )
    differ = scored.groupby("finding_id")["category"].nunique() > 1
    if differ.any():
        finding = str(differ.index[differ][0])
        return facts | {"why": f"finding {shown(finding)} has more than one category"}
    # Any row of a finding that has its category speaks for all of them.
    each = scored.groupby("finding_id")
    scored[_SCORE] = each[_SCORE].transform("first")
    scored["category"] = each["category"].transform("first")
    scored["modified"] = each["modified"].transform("max")
    findings = scored.drop_duplicates("finding_id")
    known = findings[_SCORE].notna()
    own = findings[known]
    label, rank = own["label"].to_numpy(), own[_SCORE].to_numpy(np.float64)
    facts |= {
        "findings": len(findings),
        "with_category": int(known.sum()),
        "without_category": int((~known).sum()),
        "incomplete": int((findings["category"] == INCOMPLETE).sum()),
        "s_modifier": int(findings["modified"].sum()),
        "by_category": {
            category: {
                "negatives": int(((rank == number) & (label == 0)).sum()),
                "positives": int(((rank == number) & (label == 1)).sum()),
            }
            for number, category in enumerate(CATEGORIES, start=1)
        },
    }
    why = why_misleading(findings, known, "a Lung-RADS category")
    if why:
        return facts | {"why": why}
    sampling: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed, "level": level}
    points = []
    for number, category in enumerate(CATEGORIES[1:], start=2):
        counts = confusion(label, rank, number)
        above = "" if category == CATEGORIES[-1] else " or higher"
        shares: dict[str, Any] = {
            name: counts.proportion(name, level=level) for name in _PROPORTIONS
        }
        points.append({"name": f"{category}{above}", "category": category} | shares)
    return (
        facts
        | {
            "available": True,
            "why": "",
            "patients": int(own["patient_id"].nunique()),
            "positives": int(label.sum()),
        }
        | rank_metrics(
            own,
            rank,
            max_fpr=max_fpr,
            specificity=specificity,
            sensitivity=sensitivity,
            **sampling,
        )
        | {"operating_points": points, "comparisons": comparisons(scored, _SCORE, sampling)}
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return " ".join(str(value).upper().split())
