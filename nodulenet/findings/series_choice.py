"""One series a study: by a declared rule, by name, or because there is no other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.config.series_choice import SeriesChoice
from nodulenet.errors import UsageError

YES, NO, OPEN = "yes", "no", ""
"""What ``chosen`` holds; nothing: nobody has decided."""

_KERNEL_ORDER = {"soft": 0, "": 1, "sharp": 2}


def choose_series(
    table: pd.DataFrame, choice: SeriesChoice | None = None, take: Collection[str] = ()
) -> pd.DataFrame:
    """The table of series with ``chosen`` (yes, no, or nothing) and ``why``.

    A row without a study UID is a study of its own. Without a rule, a study's only usable series
    is chosen, and of several none.

    Args:
        table: columns as of :func:`nodulenet.findings.scan_table.scan_rows`.
        choice: the rule. Defaults to none.
        take: series UIDs that are chosen whatever the rule says. Defaults to none.

    Raises:
        UsageError: a UID of ``take`` is not in the table, or is not usable.
    """
    _check_taken(table, take)
    result = table.assign(chosen=OPEN, why="")
    for _, rows in table.groupby(study_keys(table), sort=False):
        taken = rows["series_uid"].isin(list(take))
        if taken.any():
            _say(result, rows.index, NO, "another series was taken by name")
            _say(result, _first_copies(rows[taken]), YES, "taken by name")
        elif choice is None:
            _the_only_one(result, rows)
        else:
            _by_rule(result, rows, choice)
    return result


def study_keys(table: pd.DataFrame) -> pd.Series[Any]:
    """What the rows of one study have in common."""
    own = pd.Series([f"row {i}" for i in range(len(table))], table.index)
    return table["study_uid"].where(table["study_uid"] != "", own)


def _check_taken(table: pd.DataFrame, take: Collection[str]) -> None:
    for uid in take:
        rows = table[table["series_uid"] == uid]
        if rows.empty:
            raise UsageError(
                f"--take {uid}: no such series among the {len(table)} found; take one of the "
                "column series_uid"
            )
        if not rows["usable"].any():
            raise UsageError(
                f"--take {uid}: this series is not usable: {rows['verdict'].iloc[0]}; take another "
                "one"
            )


def _first_copies(rows: pd.DataFrame) -> pd.Index[Any]:
    """Of the rows of each series one, usable where one is."""
    usable = rows.sort_values("usable", ascending=False, kind="stable")
    return usable.drop_duplicates("series_uid").index


def _say(result: pd.DataFrame, index: Any, chosen: str, why: str) -> None:
    result.loc[index, "chosen"] = chosen
    result.loc[index, "why"] = why


def _the_only_one(result: pd.DataFrame, rows: pd.DataFrame) -> None:
    usable = rows[rows["usable"]]
    _say(result, rows.index[~rows["usable"]], NO, "not usable")
    if usable["series_uid"].nunique() == 1:
        _say(result, usable.index, NO, "a copy of the chosen series")
        _say(result, usable.index[:1], YES, "the only usable series")
    else:
        _say(result, usable.index, OPEN, f"one of {len(usable)} usable series: choose one")


@dataclass(frozen=True)
class _Series:
    """What the rule asks of a series."""

    index: Any
    uid: str
    name: str
    thickness_mm: float
    extent_mm: float
    kernel: str
    sharpness: str
    order: tuple[Any, ...]


def _by_rule(result: pd.DataFrame, rows: pd.DataFrame, choice: SeriesChoice) -> None:
    fit: list[_Series] = []
    for row in rows.itertuples():
        why = _unfit(row, choice)
        if why:
            _say(result, row.Index, NO, why)
        else:
            fit.append(_series(row, choice))
    if not fit:
        return
    thinnest = min(series.thickness_mm for series in fit)
    thin = [s for s in fit if s.thickness_mm <= thinnest + choice.about_as_thin_mm]
    best = min(thin, key=lambda s: s.order)
    for series in fit:
        if series is not best:
            _say(result, series.index, NO, _beaten(series, best, thin))
    others = "" if len(fit) == 1 else f", of {len(fit)} that fit"
    words = f", kernel {_kernel(best)}" if best.kernel else ", kernel not known"
    _say(result, best.index, YES, f"{choice.rule}: {best.thickness_mm:g} mm{words}{others}")


def _series(row: Any, choice: SeriesChoice) -> _Series:
    thickness = _thickness_mm(row)
    extent = row.slices * row.slice_spacing_mm
    sharpness = choice.sharpness(row.kernel)
    number = row.series_number if np.isfinite(row.series_number) else np.inf
    name = f"series {number:.0f}" if np.isfinite(number) else f"series {row.series_uid}"
    order = (_KERNEL_ORDER[sharpness], thickness, -extent, number, row.series_uid, row.path)
    return _Series(row.Index, row.series_uid, name, thickness, extent, row.kernel, sharpness, order)


def _thickness_mm(row: Any) -> float:
    known = np.isfinite(row.slice_thickness_mm) and row.slice_thickness_mm > 0
    return float(row.slice_thickness_mm if known else row.slice_spacing_mm)


def _unfit(row: Any, choice: SeriesChoice) -> str:
    """Why the rule does not take a series at all, or nothing."""
    if not row.usable:
        return "not usable"
    kinds = [k for k in row.image_type.split("\\") if k.upper() in choice.other_image_types]
    if kinds:
        return f"no plain reconstruction: its Image Type says {kinds[0]}"
    if row.plane != "axial":
        return f"{row.plane or 'of unknown orientation'}, expected axial"
    if row.oblique_degrees > choice.most_oblique_degrees:
        return f"{row.oblique_degrees:.3g} degrees off the axial plane"
    widest = max(_thickness_mm(row), row.slice_spacing_mm)
    if widest > choice.thickest_mm:
        return f"slices of {widest:g} mm, expected {choice.thickest_mm:g} at most"
    if row.slices < choice.least_slices:
        return f"{row.slices:g} slices, expected {choice.least_slices} at least"
    extent = row.slices * row.slice_spacing_mm
    if extent < choice.least_extent_mm:
        return f"{extent:.3g} mm long, expected {choice.least_extent_mm:g} at least"
    if choice.soft_only and choice.sharpness(row.kernel) != "soft":
        return f"kernel {row.kernel or 'not known'}, expected a soft one"
    return ""


def _beaten(series: _Series, best: _Series, thin: Sequence[_Series]) -> str:
    """In what the chosen series is better."""
    if series.uid == best.uid:
        return "a copy of the chosen series"
    if series not in thin or (
        series.sharpness == best.sharpness and series.thickness_mm > best.thickness_mm
    ):
        return f"{series.thickness_mm:g} mm, {best.name} has {best.thickness_mm:g} mm"
    if series.sharpness != best.sharpness:
        return f"kernel {_kernel(series)}, {best.name} has {_kernel(best)}"
    if series.extent_mm < best.extent_mm:
        return f"{series.extent_mm:g} mm long, {best.name} {best.extent_mm:g} mm"
    return f"as good as {best.name}, which comes first"


def _kernel(series: _Series) -> str:
    if not series.kernel:
        return "not known"
    return f"{series.kernel} ({series.sharpness or 'neither soft nor sharp by name'})"
