"""Results in groups of findings: by size, texture, scanner, agreement of readers or any column.

A group is a description, not a finding: with many groups some differ by chance alone. So there is
no test here; counts, intervals, a mark on small groups and the size alone in the same group stand
beside every number instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd

from nodulenet.config.schema import SubgroupConfig
from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import Floats, shown
from nodulenet.evaluation.bootstrap import auc_bootstrap
from nodulenet.evaluation.calibration import brier
from nodulenet.evaluation.confusion import confusion
from nodulenet.evaluation.interval import LEVEL
from nodulenet.evaluation.roc import auc
from nodulenet.evaluation.sizes import (
    check_size_column,
    known_sizes,
    why_misleading,
    with_sizes,
)

MOST_CATEGORIES = 12
# Numbers with at most so many values, all whole, are groups by value, not by edges.
MOST_WHOLE_VALUES = 6
UNKNOWN = "unknown"
READER_SPREAD = "reader_spread"
_READINGS = re.compile(r"malignancy_r\d+$")
_JOINED_READINGS = "malignancy_readers"


@dataclass(frozen=True, kw_only=True)
class KnownColumn:
    """A column that is worth a look wherever a table has it.

    Attributes:
        names: What tables call it; the first that is there is taken.
        edges: Borders of a number; None for text, or for groups by value.
        source: Where the edges come from.
        names_of_groups: Names of the groups between the edges. Defaults to their limits.
        positive: Whether only numbers above 0 are known values.
    """

    names: tuple[str, ...]
    edges: tuple[float, ...] | None = None
    source: str = ""
    names_of_groups: tuple[str, ...] = ()
    positive: bool = False


KNOWN = (
    KnownColumn(
        names=("diameter_mm",),
        edges=(6.0, 8.0, 15.0),
        source="6, 8 and 15 mm: size classes of solid nodules in Lung-RADS (American College of "
        "Radiology, v2022); 6 and 8 mm: Fleischner Society (MacMahon H. et al., Radiology "
        "284:228-243, 2017)",
        positive=True,
    ),
    KnownColumn(
        names=("texture", "texture_median", "texture_mean"),
        edges=(2.5, 3.5),
        names_of_groups=("nonsolid", "part-solid", "solid"),
        source="readers' scale of LIDC-IDRI, 1 nonsolid, 3 part-solid, 5 solid (Armato S. G. et "
        "al., Medical Physics 38:915-931, 2011), cut half way around 3",
        positive=True,
    ),
    KnownColumn(names=("nodule_type",)),
    KnownColumn(
        names=("slice_thickness_mm", "slice_thickness"),
        edges=(2.0, 3.0),
        source="below 2: thin sections, recommended up to 1.5 mm (MacMahon H. et al., Radiology "
        "284:228-243, 2017); LUNA16 took scans up to 2.5 mm (Setio A. A. A. et al., Medical Image "
        "Analysis 42:1-13, 2017)",
        positive=True,
    ),
    KnownColumn(
        names=("slice_spacing_mm", "slice_spacing", "spacing_z_mm", "spacing_z"),
        edges=(1.0, 2.0),
        source="our own: below 1 mm sections usually overlap, from 2 mm on a small nodule is in "
        "few of them",
        positive=True,
    ),
    KnownColumn(names=("manufacturer",)),
    KnownColumn(names=("kernel", "convolution_kernel")),
    KnownColumn(names=("n_readers", "readers")),
    KnownColumn(
        names=(READER_SPREAD, "malignancy_range"),
        edges=(1.0, 2.0),
        names_of_groups=("0: all alike", "1", "2 and more"),
        source="highest minus lowest malignancy rating of 1 to 5; 2 and more: the readers can "
        "lie on both sides of indeterminate (3)",
    ),
    KnownColumn(names=("sex",)),
)


@dataclass(frozen=True)
class _Group:
    """One group before it is counted: its name, limits, and the findings it holds."""

    name: str
    low: float | None
    high: float | None
    member: pd.Series[bool]
    is_unknown: bool = False


def subgroup_results(
    rows: pd.DataFrame,
    *,
    subgroups: Sequence[SubgroupConfig] | None = None,
    level: float = LEVEL,
    n_bootstrap: int = 2000,
    seed: int = 0,
    smallest_group: int = 10,
    calls: Mapping[str, pd.Series[bool]] | None = None,
    size_column: str = "diameter_mm",
) -> list[dict[str, Any]]:
    """AUC, sensitivity, specificity and Brier score of every model in groups of findings.

    Numbers are cut at edges (a border belongs to the group above it), whole numbers of few values
    are groups by value, text is a group a value, the most frequent first, the rest after 12
    together as "other". Empty cells, the text "unknown" and numbers that are not finite are a
    group "unknown". Where readings ``malignancy_r1, malignancy_r2 ...`` (or
    ``malignancy_readers``, joined by ";") are there, a column ``reader_spread`` is derived:
    highest minus lowest, unknown with fewer than two readings.

    Args:
        rows: Outer rows of a validated predictions table, with one or several models.
        subgroups: Columns and edges. Defaults to the known columns (:data:`KNOWN`) that are there.
        level: Confidence level. Defaults to 0.95.
        n_bootstrap: Resamples of the patients of a group. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        smallest_group: A group with fewer positives or fewer negatives is flagged as small.
            Defaults to 10.
        calls: Model -> whether a row is called positive, with the index of ``rows``; rows that
            are not in it are not counted. Defaults to none, so no sensitivity or specificity.
        size_column: Column of the size-only values. Defaults to ``"diameter_mm"``.

    Returns:
        A dictionary a column, JSON-ready: ``column, kind`` ("number", "category"; None where it
        could not be read), ``edges, source`` (of the edges), ``derived`` (how the column was
        made, or ""), ``missing`` (findings without a value), ``available, why, caution, groups,
        interaction``. Of each group: ``name, low, high, unknown, findings, patients, positives,
        negatives, small, models, size_auc, size_auc_interval, size_note``; of each model in it
        ``rows, auc, auc_interval`` (patient bootstrap), ``sensitivity, specificity`` (Wilson),
        ``brier, note``. ``interaction``: model -> the groups of lowest and highest AUC that are
        neither small nor unknown and their difference: a description without a test.

    Raises:
        PredictionsError: calls are given for rows without an index of their own.
        UsageError: the size column is one of the table's keys.

    Source: Wang R. et al., NEJM 357:2189-2194, 2007, and TRIPOD+AI (Collins G. S. et al., BMJ
    385:e078378, 2024): all groups that were looked at, with counts and intervals.

    Example:
        >>> table = pd.DataFrame(
        ...     {"finding_id": list("abcd"), "patient_id": list("abcd"), "model": "m", "fold": 0,
        ...      "label": [0, 1, 0, 1], "probability": [0.1, 0.9, 0.6, 0.4],
        ...      "scanner": ["A", "A", "B", "B"]})
        >>> result = subgroup_results(
        ...     table, subgroups=[SubgroupConfig(column="scanner")], n_bootstrap=100)
        >>> [(g["name"], g["models"]["m"]["auc"]) for g in result[0]["groups"]]
        [('A', 1.0), ('B', 0.0)]
    """
    check_size_column(size_column)
    if calls and not rows.index.is_unique:
        raise PredictionsError(
            "subgroups: the rows have no index of their own, so that calls cannot be assigned; "
            "take the rows of read_predictions as they are"
        )
    # By position from here on: the table keeps the columns of the user and gets none of ours.
    called = {model: _by_position(own, rows.index) for model, own in (calls or {}).items()}
    table, derived = _with_reader_spread(rows.reset_index(drop=True))
    asked = _defaults(table) if subgroups is None else list(subgroups)
    sampling: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed, "level": level}
    results = []
    for one in asked:
        content, groups = _column(table, one)
        content["derived"] = derived if one.column == READER_SPREAD else ""
        content["groups"] = [
            _group(table, g, sampling, smallest_group, called, size_column) for g in groups
        ]
        content["interaction"] = _interaction(content["groups"])
        results.append(content)
    caution = _caution(results)
    return [result | {"caution": caution} for result in results]


def known_column(name: str) -> KnownColumn | None:
    """What is known of a column of this name."""
    return next((known for known in KNOWN if name in known.names), None)


def _by_position(calls: pd.Series[bool], index: pd.Index[Any]) -> pd.Series[bool]:
    """The calls with the position of their row for an index; those of other rows left out."""
    places = index.get_indexer(calls.index)
    there = places >= 0
    return pd.Series(calls.to_numpy()[there], index=places[there])


def _defaults(table: pd.DataFrame) -> list[SubgroupConfig]:
    """The first name that is there of every known column that says anything."""
    found = []
    for known in KNOWN:
        name = next((n for n in known.names if n in table.columns), None)
        if name is not None and table[name].notna().any():
            found.append(SubgroupConfig(column=name))
    return found


def _with_reader_spread(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table with ``reader_spread`` where single readings allow it, and how it was made."""
    if READER_SPREAD in table.columns:
        return table, ""
    columns = [str(c) for c in table.columns if _READINGS.match(str(c))]
    if len(columns) > 1:
        readings = table[columns].apply(pd.to_numeric, errors="coerce")
        source = f"{columns[0]} to {columns[-1]}"
    elif _JOINED_READINGS in table.columns:
        texts = table[_JOINED_READINGS].astype("string").str.split(";", expand=True)
        readings = texts.apply(pd.to_numeric, errors="coerce")
        source = _JOINED_READINGS
    else:
        return table, ""
    spread = (readings.max(axis=1) - readings.min(axis=1)).astype("float64")
    spread[readings.notna().sum(axis=1) < 2] = np.nan
    text = f"highest minus lowest of {source}; unknown with fewer than two readings"
    return table.assign(**{READER_SPREAD: spread}), text


def _column(table: pd.DataFrame, asked: SubgroupConfig) -> tuple[dict[str, Any], list[_Group]]:
    """One column without its results, and its groups."""
    name = asked.column
    content: dict[str, Any] = {
        "column": name,
        "kind": None,
        "edges": None,
        "source": "",
        "missing": 0,
        "available": False,
        "why": "",
    }
    if name not in table.columns:
        return content | {"why": f"there is no column {shown(name)}"}, []
    values = table[name]
    why = _contradiction(table, name)
    if why:
        return content | {"why": why}, []
    numbers = _numbers(values)
    kind: Literal["number", "category"] = "category" if numbers is None else "number"
    known = known_column(name)
    source = ""
    edges: tuple[float, ...] | None = None
    if numbers is None:
        texts = _texts(values).dropna()
        wrong = texts[pd.to_numeric(texts.map(str), errors="coerce").isna()]
        if asked.edges is not None and len(wrong):
            why = f"edges need numbers, and {shown(name)} holds {shown(str(wrong.iloc[0]))}"
            return content | {"kind": kind, "why": why}, []
        missing, groups = _by_text(_texts(values))
    else:
        if known is not None and known.positive:
            numbers = numbers.where(numbers > 0)
        edges, source = _edges(table, numbers, asked, known)
        names = known.names_of_groups if known and edges == known.edges else ()
        missing = numbers.isna()
        groups = (
            _by_value(numbers)
            if edges is None
            else _by_edges(numbers, edges, names, " mm" if name.endswith("_mm") else "")
        )
    filled = [group for group in groups if group.member.any()]
    if missing.any():
        filled.append(_Group(UNKNOWN, None, None, missing, is_unknown=True))
    without = int(table.loc[missing.to_numpy(), "finding_id"].nunique())
    content |= {
        "kind": kind,
        "edges": None if edges is None else list(edges),
        "source": source,
        "missing": without,
    }
    if len(filled) < 2:
        what = filled[0].name if filled else "nothing"
        return content | {"why": f"all findings are in one group ({what})"}, []
    return content | {"available": True}, filled


def _contradiction(table: pd.DataFrame, name: str) -> str:
    """Why a column is none of findings: one finding with two values; else nothing."""
    first = table.groupby("finding_id", sort=False)[name].transform("nunique", dropna=False)
    wrong = np.flatnonzero(first.to_numpy() > 1)
    if not wrong.size:
        return ""
    finding = table["finding_id"].iloc[wrong[0]]
    return (
        f"finding {shown(finding)} has several values of {shown(name)}; a group needs one value "
        "a finding"
    )


def _numbers(values: pd.Series[Any]) -> pd.Series[float] | None:
    """The values as float64 with NaN for what is not finite, or None where they are text."""
    if pd.api.types.is_bool_dtype(values):
        return None
    texts = _texts(values)
    numbers = pd.to_numeric(texts, errors="coerce").astype("float64")
    if (numbers.isna() & texts.notna()).any() or texts.isna().all():
        return None
    return numbers.where(np.isfinite(numbers))


def _texts(values: pd.Series[Any]) -> pd.Series[Any]:
    """Text without blanks around it; what is empty, or says that it is unknown, is missing."""
    if not (
        pd.api.types.is_object_dtype(values)
        or pd.api.types.is_string_dtype(values)
        or isinstance(values.dtype, pd.CategoricalDtype)
    ):
        return values
    texts = values.astype("object").map(lambda value: str(value).strip(), na_action="ignore")
    empty = texts.map(lambda text: text.lower() in ("", UNKNOWN), na_action="ignore")
    return texts.mask(empty.eq(True))


def _edges(
    table: pd.DataFrame,
    numbers: pd.Series[float],
    asked: SubgroupConfig,
    known: KnownColumn | None,
) -> tuple[tuple[float, ...] | None, str]:
    """Edges and where they come from; None for groups by value."""
    if asked.edges is not None:
        return tuple(asked.edges), "given"
    if known is not None and known.edges is not None:
        return known.edges, known.source
    once = numbers[~table["finding_id"].duplicated()].dropna()
    if once.nunique() <= MOST_WHOLE_VALUES and bool((once % 1 == 0).all()):
        return None, ""
    return _thirds(np.asarray(once, dtype=np.float64))


def _thirds(values: Floats) -> tuple[tuple[float, ...], str]:
    """Borders of thirds with as few digits as leave the groups what they are, at least three."""
    exact = sorted({float(edge) for edge in np.quantile(values, [1 / 3, 2 / 3])})
    at = np.searchsorted(exact, values, side="right")
    groups = np.unique(at).size
    allowed = max(1, values.size // 10)
    for digits in range(3, 17):
        rounded = sorted({float(f"{edge:.{digits}g}") for edge in exact})
        found = np.searchsorted(rounded, values, side="right")
        # Dates such as 20110131 are all the same to three digits.
        if np.unique(found).size >= groups and int((found != at).sum()) <= allowed:
            number = "three" if digits == 3 else str(digits)
            return tuple(rounded), f"thirds of the findings, rounded to {number} digits"
    return tuple(exact), "thirds of the findings"


def _by_edges(
    numbers: pd.Series[float], edges: Sequence[float], names: Sequence[str], unit: str
) -> list[_Group]:
    limits: list[float | None] = [None, *edges, None]
    at = pd.Series(np.searchsorted(np.asarray(edges), numbers, side="right"), index=numbers.index)
    groups = []
    for position, (low, high) in enumerate(pairwise(limits)):
        if names:
            name = names[position]
        elif low is None:
            name = f"below {_written(high)}{unit}"
        elif high is None:
            name = f"{_written(low)}{unit} and above"
        else:
            name = f"{_written(low)} to below {_written(high)}{unit}"
        groups.append(_Group(name, low, high, (at == position) & numbers.notna()))
    return groups


def _by_value(numbers: pd.Series[float]) -> list[_Group]:
    return [
        _Group(_written(value), float(value), float(value), numbers == value)
        for value in sorted(numbers.dropna().unique())
    ]


def _written(value: float | None) -> str:
    """A number in full, so that two numbers never have one name."""
    number = float(value or 0)
    return f"{number:.0f}" if number % 1 == 0 and abs(number) < 1e15 else repr(number)


def _by_text(texts: pd.Series[Any]) -> tuple[pd.Series[bool], list[_Group]]:
    counts = texts.dropna().map(str).value_counts()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    # One that is left over is shown by its name.
    most = len(ordered) if len(ordered) <= MOST_CATEGORIES + 1 else MOST_CATEGORIES
    spelled = texts.map(str, na_action="ignore")
    groups = [_Group(str(name), None, None, spelled == name) for name, _ in ordered[:most]]
    rest = [str(name) for name, _ in ordered[most:]]
    if rest:
        name = f"other ({len(rest)} values)"
        groups.append(_Group(name, None, None, spelled.isin(rest)))
    return texts.isna(), groups


def _group(
    table: pd.DataFrame,
    group: _Group,
    sampling: dict[str, Any],
    smallest: int,
    calls: Mapping[str, pd.Series[bool]],
    size_column: str,
) -> dict[str, Any]:
    rows = table[group.member.to_numpy()]
    findings = rows.drop_duplicates("finding_id")
    positives = int(findings["label"].sum())
    negatives = len(findings) - positives
    return {
        "name": group.name,
        "low": group.low,
        "high": group.high,
        "unknown": group.is_unknown,
        "findings": len(findings),
        "patients": int(findings["patient_id"].nunique()),
        "positives": positives,
        "negatives": negatives,
        "small": min(positives, negatives) < smallest,
        "models": {
            str(model): _model(part, calls.get(str(model)), sampling)
            for model, part in rows.groupby("model", sort=False)
        },
    } | _size(rows, size_column, sampling)


def _model(
    rows: pd.DataFrame, calls: pd.Series[bool] | None, sampling: dict[str, Any]
) -> dict[str, Any]:
    label, probability = rows["label"].to_numpy(), rows["probability"].to_numpy()
    content: dict[str, Any] = {
        "rows": len(rows),
        "auc": None,
        "auc_interval": None,
        "sensitivity": None,
        "specificity": None,
        "brier": brier(label, probability),
        "note": "",
    }
    notes = []
    if calls is not None:
        called = rows.index.isin(calls.index)
        if called.any():
            judged = rows[called]
            counts = confusion(judged["label"], calls.loc[judged.index].astype(float), 0.5)
            for name in ("sensitivity", "specificity"):
                content[name] = counts.proportion(name, level=sampling["level"])
        if not called.all():
            notes.append(f"{int((~called).sum())} rows have no threshold and are not called")
    why = _one_class(label)
    if why:
        notes.append(f"no AUC: {why}")
    else:
        patients = rows["patient_id"].to_numpy()
        content["auc"] = auc(label, probability)
        content["auc_interval"] = auc_bootstrap(label, probability, patients, **sampling).to_dict()
    return content | {"note": "; ".join(notes)}


def _size(rows: pd.DataFrame, column: str, sampling: dict[str, Any]) -> dict[str, Any]:
    """AUC of the size alone in a group, or why there is none."""
    none = {"size_auc": None, "size_auc_interval": None}
    if column not in rows.columns:
        return none | {"size_note": f"there is no column {shown(column)}"}
    findings = with_sizes(rows, column).drop_duplicates("finding_id")
    why = _one_class(findings["label"].to_numpy())
    if why:
        return none | {"size_note": f"no AUC: {why}"}
    known = known_sizes(findings, column)
    why = why_misleading(findings, known, column)
    if why:
        return none | {"size_note": why}
    part = findings[known]
    label, size = part["label"].to_numpy(), part[column].to_numpy()
    interval = auc_bootstrap(label, size, part["patient_id"].to_numpy(), **sampling)
    unknown = int((~known).sum())
    return {
        "size_auc": auc(label, size),
        "size_auc_interval": interval.to_dict(),
        "size_note": f"without {unknown} findings of unknown size" if unknown else "",
    }


def _one_class(label: Any) -> str:
    positives = int(np.sum(label))
    if 0 < positives < len(label):
        return ""
    return f"one class only ({positives} positive, {len(label) - positives} negative)"


def _interaction(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How far apart the groups are, of each model; None where nobody has two groups to compare."""
    usable = [g for g in groups if not g["small"] and not g["unknown"]]
    content = {}
    for model in dict.fromkeys(name for g in usable for name in g["models"]):
        own = [
            (g["models"][model]["auc"], g["name"])
            for g in usable
            if g["models"].get(model, {}).get("auc") is not None
        ]
        if len(own) > 1:
            (low, lowest), (high, highest) = min(own), max(own)
            content[model] = {
                "lowest": {"group": lowest, "auc": low},
                "highest": {"group": highest, "auc": high},
                "difference": high - low,
            }
    return content or None


def _caution(results: Sequence[Mapping[str, Any]]) -> str:
    columns = [r for r in results if r["available"]]
    groups = sum(len(r["groups"]) for r in columns)
    small = sum(bool(g["small"]) for r in columns for g in r["groups"])
    few = f", {small} of them small" if small else ""
    of = "1 column" if len(columns) == 1 else f"{len(columns)} columns"
    return (
        f"{groups} groups of {of} were looked at{few}. Some of many differ "
        "by chance, the intervals are not corrected for it, and groups differ in more than the "
        "column they are named for: read them as a description, not as evidence of a difference."
    )
